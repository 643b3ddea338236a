{{/* Where the pools and their pods are. */}}
{{- define "epp.poolNamespace" -}}
{{ .Values.pool.namespace | default .Release.Namespace }}
{{- end }}

{{- define "epp.poolName" -}}
{{ .Values.pool.name | default .Release.Name }}
{{- end }}

{{/* The name of everything in the release's namespace, and the value of the label inferencepool. */}}
{{- define "epp.name" -}}
{{- if eq .Values.naming "ack" -}}
{{- printf "epp-%s-%s" (include "epp.poolNamespace" .) .Values.pool.name -}}
{{- else -}}
{{- printf "%s-epp" .Release.Name -}}
{{- end -}}
{{- end }}

{{/* The name of what lies in the pool's namespace, beside other releases' objects. */}}
{{- define "epp.poolScopedName" -}}
{{- if or (eq .Values.naming "ack") (eq (include "epp.poolNamespace" .) .Release.Namespace) -}}
{{ include "epp.name" . }}
{{- else -}}
{{- printf "%s-%s" .Release.Namespace (include "epp.name" .) -}}
{{- end -}}
{{- end }}

{{- define "epp.selectorLabels" -}}
inferencepool: {{ include "epp.name" . }}
{{- end }}

{{- define "epp.labels" -}}
{{ include "epp.selectorLabels" . }}
app.kubernetes.io/name: endpoint-picker
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: endpoint-picker
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "epp.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{/* Non-empty when the chart creates the InferencePool. */}}
{{- define "epp.createsPool" -}}
{{- if kindIs "invalid" .Values.inferencePool.create -}}
{{- if and (eq .Values.naming "llm-d") (not .Values.standalone.enabled) (not .Values.pool.selector) -}}true{{- end -}}
{{- else if .Values.inferencePool.create -}}true{{- end -}}
{{- end }}

{{/* API group of the pool; empty when whichever is there will do. */}}
{{- define "epp.poolGroup" -}}
{{- if .Values.pool.group -}}
{{ .Values.pool.group }}
{{- else if include "epp.createsPool" . -}}
{{ .Values.inferencePool.apiVersion | splitList "/" | first }}
{{- end -}}
{{- end }}

{{/* The profile's text; empty when no file is mounted. */}}
{{- define "epp.config" -}}
{{- if .Values.config -}}
{{ .Values.config }}
{{- else if eq .Values.naming "llm-d" -}}
{{ .Files.Get "files/scheduler-profiles.yaml" }}
{{- end -}}
{{- end }}
