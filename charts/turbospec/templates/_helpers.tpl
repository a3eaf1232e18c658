{{- define "turbospec.labels" -}}
app.kubernetes.io/name: turbospec
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "turbospec.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What a namespace must satisfy to be looked at at all. Input: the root context. */}}
{{- define "turbospec.namespaces" -}}
{{- if .Values.watchNamespace -}}
- {key: kubernetes.io/metadata.name, operator: In, values: [{{ .Values.watchNamespace | quote }}]}
{{- else -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: {{ append .Values.webhook.excludedNamespaces .Release.Namespace | uniq | toJson }}
{{- end -}}
{{- end }}

{{- define "turbospec.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "turbospec.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment that operator and webhook share. */}}
{{- define "turbospec.environment" -}}
- name: TURBOSPEC_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- {name: TURBOSPEC_ENGINE_PORT, value: {{ .Values.enginePort | quote }}}
- {name: TURBOSPEC_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
{{- end }}

{{/* Where pods run. Input: the values of one Deployment. */}}
{{- define "turbospec.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end }}

{{/* A role where TurboSpec governs: cluster-wide, or in one namespace. Input: root, name, rules; account where it is not the name. */}}
{{- define "turbospec.governingRole" -}}
{{- $namespaced := .root.Values.watchNamespace -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (not (empty $namespaced)) }}
metadata:
  name: {{ .name }}
  {{- with $namespaced }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "turbospec.labels" .root | nindent 4 }}
rules: {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (not (empty $namespaced)) }}
metadata:
  name: {{ .name }}
  {{- with $namespaced }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "turbospec.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (not (empty $namespaced)) }}
  name: {{ .name }}
subjects:
- {kind: ServiceAccount, name: {{ .account | default .name }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}

{{/* A role in the namespace of the release. Input: root, name, rules. */}}
{{- define "turbospec.ownRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}-own
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "turbospec.labels" .root | nindent 4 }}
rules: {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}-own
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "turbospec.labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .name }}-own}
subjects:
- {kind: ServiceAccount, name: {{ .name }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}
