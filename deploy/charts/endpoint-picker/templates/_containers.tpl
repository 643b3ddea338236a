{{/* The flags of `epp serve`. */}}
{{- define "epp.args" -}}
{{- if .Values.standalone.enabled }}
{{- $labels := list }}
{{- range $key, $value := .Values.modelServers.matchLabels }}
{{- $labels = append $labels (printf "%s=%s" $key $value) }}
{{- end }}
- --endpoint-selector={{ $labels | join "," }}
- --endpoint-target-ports={{ .Values.modelServers.targetPorts | join "," }}
{{- else if .Values.pool.selector }}
- --pool-selector={{ .Values.pool.selector }}
{{- else }}
- --pool-name={{ include "epp.poolName" . }}
{{- range .Values.pool.additional }}
- --pool-name={{ . }}
{{- end }}
{{- end }}
- --pool-namespace={{ include "epp.poolNamespace" . }}
{{- with include "epp.poolGroup" . }}
- --pool-group={{ . }}
{{- end }}
{{- if include "epp.config" . }}
- --config-file=/config/scheduler-profiles.yaml
{{- end }}
{{- if eq .Values.kvEvents.mode "bind" }}
- --kv-events-bind=tcp://*:{{ .Values.kvEvents.port }}
{{- else }}
- --kv-events-dial={{ .Values.kvEvents.port }}
{{- end }}
{{- with .Values.kvEvents.replayPort }}
- --kv-events-replay={{ . }}
{{- end }}
{{- if eq .Values.availability.mode "active-passive" }}
- --ha-enable-leader-election
- --ha-lease-name={{ include "epp.name" . }}
- --ha-lease-duration={{ .Values.availability.leaseDurationSeconds }}s
{{- end }}
{{- if ne .Values.tokenizer.source "engine" }}
- --tokenizers-dir=/tokenizers
{{- end }}
- --grpc-port=9002
- --grpc-health-port=9003
- --metrics-port=9090
- --secure-serving={{ .Values.tls.enabled }}
{{- if .Values.tls.secretName }}
- --cert-path=/tls
{{- end }}
- --drain-timeout={{ .Values.lifecycle.drainTimeoutSeconds }}s
- --log-format={{ .Values.logging.format }}
- --verbosity={{ .Values.logging.verbosity }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "epp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "epp.tokenizerMount" -}}
{{- if and (eq .Values.tokenizer.source "volume") .Values.tokenizer.folder -}}
/tokenizers/{{ .Values.tokenizer.folder }}
{{- else -}}
/tokenizers
{{- end -}}
{{- end }}

{{/* Downloads one model's tokenizer before the picker starts. */}}
{{- define "epp.fetchTokenizer" -}}
{{- $hub := .Values.tokenizer.hub -}}
- name: fetch-tokenizer
  image: {{ include "epp.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - fetch-tokenizer
    - --hub={{ $hub.name }}
    - --model={{ $hub.model }}
    - --name={{ $hub.folder }}
    - --tokenizers-dir=/tokenizers
  {{- if or $hub.tokenSecret.name .Values.env }}
  env:
    {{- with $hub.tokenSecret.name }}
    - name: {{ eq $hub.name "modelscope" | ternary "MODELSCOPE_API_TOKEN" "HF_TOKEN" }}
      valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $hub.tokenSecret.key }} } }
    {{- end }}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  resources:
    requests: { cpu: 100m, memory: 128Mi }
    limits: { memory: 512Mi }
  securityContext:
    {{- include "epp.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - { name: tmp, mountPath: /tmp }
    - { name: tokenizers, mountPath: /tokenizers }
{{- end }}

{{/* Envoy's bootstrap, listening on the pod's addresses and speaking to the picker as it serves. */}}
{{- define "epp.envoy" -}}
{{- $loopback := "address: 127.0.0.1, port_value: 8081" -}}
{{- $text := .Files.Get "files/envoy.yaml" -}}
{{- if not (contains $loopback $text) -}}
{{- fail (printf "files/envoy.yaml has no listener at %q" $loopback) -}}
{{- end -}}
{{ $text | replace $loopback "address: '::', port_value: 8081, ipv4_compat: true" }}
{{- end }}

{{- define "epp.envoyContainer" -}}
- name: envoy
  image: {{ .Values.standalone.envoy.image }}
  imagePullPolicy: IfNotPresent
  args: [-c, /etc/envoy/envoy.yaml]
  ports:
    - { name: http, containerPort: 8081 }
  readinessProbe:
    tcpSocket: { port: http }
    periodSeconds: 2
  {{- if .Values.lifecycle.preStopSleepSeconds }}
  # Envoy ends at once when told to, and running requests with it: it is told as late as the picker ends.
  lifecycle: { preStop: { sleep: { seconds: {{ add .Values.lifecycle.preStopSleepSeconds .Values.lifecycle.drainTimeoutSeconds }} } } }
  {{- end }}
  resources:
    {{- toYaml .Values.standalone.envoy.resources | nindent 4 }}
  securityContext:
    {{- include "epp.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - { name: envoy, mountPath: /etc/envoy, readOnly: true }
    - { name: tmp, mountPath: /tmp }
{{- end }}
