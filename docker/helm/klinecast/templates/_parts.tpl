{{/* What the templates share. */}}

{{- define "klinecast.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of a component: (dict "root" $ "component" "ws-gateway"). */}}
{{- define "klinecast.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "klinecast.labels" -}}
{{ include "klinecast.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "klinecast.metadata" -}}
labels:
  {{- include "klinecast.labels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (.annotations | default dict) .root.Values.podAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Seconds of the grace period: (dict "preStop" 5 "deadlineMs" 20000). The process has two seconds more than it allows itself. */}}
{{- define "klinecast.grace" -}}
{{- add .preStop (ceil (divf .deadlineMs 1000)) 2 -}}
{{- end -}}

{{/* The beginning of a pod's spec: (dict "root" $ "component" … "user" 65532). */}}
{{- define "klinecast.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
# Two on one host would be lost together.
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "klinecast.selector" . | nindent 8 }}
{{- end -}}

{{- define "klinecast.container" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "klinecast.confined" . }}
{{- end -}}

{{- define "klinecast.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* A program is alive while it answers; it is ready once it can serve. */}}
{{- define "klinecast.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- define "klinecast.preStop" -}}
{{- if gt (int .) 0 }}
lifecycle:
  preStop:
    sleep: { seconds: {{ . }} }
{{- end }}
{{- end -}}

{{/* The bus as a role sees it: (dict "root" $ "role" "gateway"). */}}
{{- define "klinecast.bus" -}}
{{- $bus := .root.Values.bus -}}
{{- $scheme := ternary "tls" "nats" (ne $bus.tlsSecret "") -}}
{{- $user := ternary (printf "%s:$(NATS_PASSWORD)@" .role) "" (ne $bus.passwordsSecret "") -}}
{{- $addresses := list -}}
{{- range $bus.servers }}{{ $addresses = append $addresses (printf "%s://%s%s" $scheme $user .) }}{{ end -}}
{{- if $bus.passwordsSecret }}
- name: NATS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $bus.passwordsSecret }}
      key: NATS_{{ upper .role }}_PASSWORD
{{- end }}
- name: KLINECAST_BUS
  value: {{ join "," $addresses | quote }}
- name: KLINECAST_BUS_REPLICAS
  value: {{ $bus.replicas | quote }}
{{- if $bus.prefix }}
- name: KLINECAST_BUS_PREFIX
  value: {{ $bus.prefix | quote }}
{{- end }}
{{- if $bus.tlsSecret }}
- name: KLINECAST_BUS_CA_FILE
  value: /etc/klinecast/nats/ca.crt
{{- end }}
- name: KLINECAST_LOG_FORMAT
  value: json
{{- end -}}

{{- define "klinecast.authEnv" -}}
{{- if ne .Values.auth.mode "off" }}
- name: KLINECAST_AUTH_MODE
  value: {{ .Values.auth.mode }}
- name: KLINECAST_AUTH_JWKS_FILE
  value: /etc/klinecast/auth/jwks.json
{{- end }}
{{- end -}}

{{/* Whether there are keys to mount: (dict "root" $ "auth" true). */}}
{{- define "klinecast.mounts" -}}
{{- if .root.Values.bus.tlsSecret }}
- name: nats-authority
  mountPath: /etc/klinecast/nats
  readOnly: true
{{- end }}
{{- if and .auth (ne .root.Values.auth.mode "off") }}
- name: token-keys
  mountPath: /etc/klinecast/auth
  readOnly: true
{{- end }}
{{- end -}}

{{- define "klinecast.volumes" -}}
{{- if .root.Values.bus.tlsSecret }}
# The authority alone: the key of the servers is not for programs.
- name: nats-authority
  secret:
    secretName: {{ .root.Values.bus.tlsSecret }}
    items: [{ key: ca.crt, path: ca.crt }]
{{- end }}
{{- if and .auth (ne .root.Values.auth.mode "off") }}
- name: token-keys
  secret:
    secretName: {{ .root.Values.auth.jwksSecret }}
    items: [{ key: jwks.json, path: jwks.json }]
{{- end }}
{{- end -}}
