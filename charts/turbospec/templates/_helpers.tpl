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
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{ toJson . }}
{{- end }}
{{- end }}

{{/* Topology spread unless the values say it: one node each where possible. Input: root, component. */}}
{{- define "turbospec.spread" -}}
{{- if not (index .root.Values .component).topologySpreadConstraints -}}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }}}
{{- end }}
{{- end }}

{{/* Never more than one pod evicted at once; a single one has no budget, which would only hold up drains. Input: root, component. */}}
{{- define "turbospec.disruptionBudget" -}}
{{- if gt (int (index .root.Values .component).replicas) 1 -}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: turbospec-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "turbospec.labels" .root | nindent 4 }}
spec:
  maxUnavailable: 1
  # Eviction of a pod that is not Ready makes nothing worse; by default it would wait for that one to be well.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }}}
{{- end }}
{{- end }}

{{/* Not empty where cluster-scoped, or namespaced, objects are wanted. Input: the root context. */}}
{{- define "turbospec.wantsCluster" -}}
{{- ternary "" "yes" (eq .Values.clusterObjects "Skip") -}}
{{- end }}
{{- define "turbospec.wantsNamespaced" -}}
{{- ternary "" "yes" (eq .Values.clusterObjects "Only") -}}
{{- end }}

{{/* The name of a cluster-scoped object: releases that watch one namespace each have their own. Input: root, name. */}}
{{- define "turbospec.clusterName" -}}
{{- .name -}}{{- with .root.Values.watchNamespace -}}-{{ . }}{{- end -}}
{{- end }}

{{/*
Not empty where a CRD is ours to install: it is not there, or this release owns it. One that somebody applied by hand, or
that another release owns, is left to them: Helm would refuse the whole release. Input: root, crd (its name).
*/}}
{{- define "turbospec.mayOwn" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .crd | default dict -}}
{{- $annotations := ($found.metadata | default dict).annotations | default dict -}}
{{- $release := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if or (not $found) (and (eq $release .root.Release.Name) (eq $namespace .root.Release.Namespace)) -}}yes{{- end -}}
{{- end }}

{{/* A role where TurboSpec governs: cluster-wide, or in one namespace. Input: root, name, rules; account where it is not the name. */}}
{{- define "turbospec.governingRole" -}}
{{- $namespaced := .root.Values.watchNamespace -}}
{{- if include (ternary "turbospec.wantsNamespaced" "turbospec.wantsCluster" (not (empty $namespaced))) .root -}}
---
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
{{- end }}

{{/* A role in the namespace of the release. Input: root, name, rules. */}}
{{- define "turbospec.ownRole" -}}
{{- if include "turbospec.wantsNamespaced" .root -}}
---
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
{{- end }}
