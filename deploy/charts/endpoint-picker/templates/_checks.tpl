{{/* Combinations that cannot work. Each message: what is wrong, with the value, then what to do. */}}
{{- define "epp.check" -}}
{{- $mode := .Values.availability.mode -}}
{{- $replicas := int .Values.availability.replicas -}}
{{- if and (eq $mode "single") (gt $replicas 1) -}}
{{- fail (printf "availability.replicas is %d in mode single, where each replica would know a part of the events only; set availability.mode to active-passive or active-active" $replicas) -}}
{{- end -}}
{{- if and (ne $mode "single") (lt $replicas 2) -}}
{{- fail (printf "availability.mode %s needs availability.replicas of 2 or more, not %d" $mode $replicas) -}}
{{- end -}}
{{- if and (eq $mode "active-active") (eq .Values.kvEvents.mode "bind") -}}
{{- fail "availability.mode active-active cannot work with kvEvents.mode bind: an engine connects to one replica of the Service and the others stay blind; set kvEvents.mode to dial and let engines publish on tcp://*:5557" -}}
{{- end -}}
{{- if eq .Values.naming "ack" -}}
{{- if not .Values.pool.name -}}
{{- fail "naming ack needs pool.name, since it is part of every name: epp-<pool namespace>-<pool>" -}}
{{- end -}}
{{- if gt (len (include "epp.name" .)) 63 -}}
{{- fail (printf "%s is %d characters long, and a Service's name has at most 63; shorten pool.name or use naming llm-d" (include "epp.name" .) (len (include "epp.name" .))) -}}
{{- end -}}
{{- if .Values.pool.selector -}}
{{- fail (printf "naming ack is made of one pool's name; leave pool.selector (%s) empty or set naming to llm-d" .Values.pool.selector) -}}
{{- end -}}
{{- if include "epp.createsPool" . -}}
{{- fail "naming ack installs the picker in the gateway's namespace, where the InferencePool does not belong; leave inferencePool.create empty and apply the pool beside the model servers (deploy/ack/inference-policy.yaml)" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.pool.selector (or .Values.pool.name .Values.pool.additional) -}}
{{- fail (printf "pool.selector (%s) stands instead of pool.name and pool.additional; leave those empty" .Values.pool.selector) -}}
{{- end -}}
{{- if and .Values.pool.selector .Values.inferenceObjectives.items -}}
{{- fail "inferenceObjectives belong to one pool, and pool.selector names none; apply them beside their pools" -}}
{{- end -}}
{{- if include "epp.createsPool" . -}}
{{- if not (hasPrefix (printf "%s/" (include "epp.poolGroup" .)) .Values.inferencePool.apiVersion) -}}
{{- fail (printf "the chart creates the pool in %s and pool.group is %s; leave pool.group empty" .Values.inferencePool.apiVersion .Values.pool.group) -}}
{{- end -}}
{{- if ne (include "epp.poolNamespace" .) .Release.Namespace -}}
{{- fail (printf "an InferencePool names its picker's Service without a namespace, so both must be in one; install the release into %s or set inferencePool.create to false" (include "epp.poolNamespace" .)) -}}
{{- end -}}
{{- if not .Values.modelServers.matchLabels -}}
{{- fail "modelServers.matchLabels is empty: the InferencePool needs the labels of the model servers' pods, such as app: qwen3; set them or set inferencePool.create to false" -}}
{{- end -}}
{{- if and (hasSuffix "/v1alpha2" .Values.inferencePool.apiVersion) (gt (len .Values.modelServers.targetPorts) 1) -}}
{{- fail (printf "an InferencePool %s has one port, modelServers.targetPorts has %d; set inferencePool.apiVersion to inference.networking.k8s.io/v1" .Values.inferencePool.apiVersion (len .Values.modelServers.targetPorts)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (eq .Values.kvEvents.mode "bind") (not .Values.modelServers.matchLabels) -}}
{{- fail "networkPolicy keeps the KV event port to the model servers and needs their labels: set modelServers.matchLabels, such as app: qwen3, or networkPolicy.enabled to false" -}}
{{- end -}}
{{- if .Values.standalone.enabled -}}
{{- if or (eq .Values.naming "ack") (ne .Values.provider.name "none") .Values.pool.name .Values.pool.additional .Values.pool.selector (include "epp.createsPool" .) .Values.inferenceObjectives.items -}}
{{- fail "standalone needs no gateway and no CRDs: leave naming llm-d, provider.name none, and pool.name, pool.additional, pool.selector, inferencePool.create and inferenceObjectives.items empty" -}}
{{- end -}}
{{- if not .Values.modelServers.matchLabels -}}
{{- fail "standalone finds the model servers by modelServers.matchLabels, such as app: qwen3; set them" -}}
{{- end -}}
{{- if eq $mode "active-passive" -}}
{{- fail "standalone has an Envoy beside each picker, and each must serve; set availability.mode to single or active-active" -}}
{{- end -}}
{{- if not .Values.tls.enabled -}}
{{- fail "standalone's Envoy speaks TLS to the picker; set tls.enabled to true" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.provider.name "envoy-gateway") (not .Values.provider.envoyGateway.gatewayName) -}}
{{- fail "provider envoy-gateway lifts the timeout of a Gateway: set provider.envoyGateway.gatewayName" -}}
{{- end -}}
{{- if and (eq .Values.provider.name "gke") (not (include "epp.createsPool" .)) (not .Values.pool.name) -}}
{{- fail "provider gke attaches its policies to one InferencePool: set pool.name" -}}
{{- end -}}
{{- if and (eq .Values.tokenizer.source "volume") (not .Values.tokenizer.volume) -}}
{{- fail "tokenizer.source volume needs tokenizer.volume, such as persistentVolumeClaim: { claimName: llm-model, readOnly: true }" -}}
{{- end -}}
{{- if and (eq .Values.tokenizer.source "hub") (not (and .Values.tokenizer.hub.model .Values.tokenizer.hub.folder)) -}}
{{- fail "tokenizer.source hub needs tokenizer.hub.model (such as Qwen/Qwen3-32B) and tokenizer.hub.folder (the served model's name, such as Qwen3-32B)" -}}
{{- end -}}
{{- if and .Values.configFiles (not (include "epp.config" .)) -}}
{{- fail "configFiles lie beside a profile, and there is none: set config" -}}
{{- end -}}
{{- end }}
