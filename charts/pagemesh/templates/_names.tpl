{{/* Labels of an object: call with (list . COMPONENT). */}}
{{- define "pagemesh.labels" -}}
{{- $root := index . 0 -}}
{{ include "pagemesh.selector" . }}
app.kubernetes.io/part-of: pagemesh
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels by which a component's pods are found; they never change. */}}
{{- define "pagemesh.selector" -}}
app.kubernetes.io/name: pagemesh
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The name of an image: call with (list . IMAGE). */}}
{{- define "pagemesh.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What may be read of /metrics, as an ingress rule: call with (list . PORT). */}}
{{- define "pagemesh.metricsIngress" -}}
{{- $root := index . 0 -}}
- ports:
    - port: {{ index . 1 }}
      protocol: TCP
  {{- with $root.Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What both operator and agents must reach: the API server, whose addresses a policy cannot know, DNS, and traces. */}}
{{- define "pagemesh.commonEgress" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
    {{- if .Values.otel }}
    {{- range .Values.networkPolicy.otlpPorts }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
    {{- end }}
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
