{{/* The roles: what each is on the bus, whose address of the database it has, and where it answers probes. */}}
{{- define "lablet.roles" -}}
serve: { user: commands, database: app, port: 8080 }
project: { user: projector, database: projector, port: 9464 }
relay: { user: relay, database: app, port: 9464 }
{{- if .Values.control.enabled }}
control: { user: controller, port: 9464 }
{{- end }}
{{- if .Values.deliver.enabled }}
deliver: { user: webhooks, database: app, port: 9464 }
{{- end }}
{{- end }}

{{- define "lablet.name" -}}
{{- if contains "lablet" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-lablet{{ end }}
{{- end }}

{{/* By which pods are found; they never change. */}}
{{- define "lablet.selector" -}}
app.kubernetes.io/name: lablet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lablet.labels" -}}
{{ include "lablet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Of a role with a tag of its own, if it has one. */}}
{{- define "lablet.image" -}}
{{- $image := .root.Values.image -}}
{{- if and $image.digest (not .role.tag) }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ .role.tag | default $image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Files from Secrets: where each lies below /etc/lablet, the key, and the setting that names it. A role sees its own. */}}
{{- define "lablet.files" -}}
{{- $secrets := .root.Values.secrets }}
- { folder: bus, secret: {{ $secrets.bus | quote }}, items: { {{ .user }}.nk: key, ca.pem: ca.pem }, settings: { LABLET_NATS_NKEY: key, LABLET_NATS_CA: ca.pem } }
{{- if .database }}
- { folder: database, secret: {{ index $secrets.database .database | quote }}, items: { url: url }, settings: { LABLET_DATABASE_URL_FILE: url } }
{{- with $secrets.database.authority }}
- { folder: database-ca, secret: {{ . | quote }}, items: { ca.crt: ca.crt } }
{{- end }}
{{- end }}
{{- if eq .name "control" }}
- { folder: gateway, secret: {{ $secrets.internalApiKey | quote }}, items: { key: key }, settings: { LABLET_INTERNAL_API_KEY_FILE: key } }
- { folder: cml, secret: {{ $secrets.cml | quote }}, items: { credentials.toml: credentials.toml }, settings: { LABLET_CML_CREDENTIALS: credentials.toml } }
{{- with $secrets.cmlAuthority }}
- { folder: cml-ca, secret: {{ . | quote }}, items: { ca.pem: ca.pem }, settings: { LABLET_CML_CA: ca.pem } }
{{- end }}
{{- end }}
{{- if eq .name "deliver" }}
- { folder: webhooks, secret: {{ $secrets.webhooks | quote }}, settings: { LABLET_WEBHOOKS: webhooks.toml } }
{{- end }}
{{- if eq .name "serve" }}
{{- with $secrets.database.replica }}
- { folder: replica, secret: {{ . | quote }}, items: { url: url }, settings: { LABLET_REPLICA_DATABASE_URL_FILE: url } }
{{- end }}
{{- with $secrets.openid }}
- { folder: openid, secret: {{ . | quote }}, items: { client-secret: client-secret }, settings: { LABLET_OIDC_CLIENT_SECRET_FILE: client-secret } }
{{- end }}
{{- with $secrets.openidAuthority }}
- { folder: openid-ca, secret: {{ . | quote }}, items: { ca.pem: ca.pem }, settings: { LABLET_OIDC_CA: ca.pem } }
{{- end }}
{{- end }}
{{- if and $secrets.telemetryHeaders (ne .name "migrate") }}
- { folder: telemetry, secret: {{ $secrets.telemetryHeaders | quote }}, items: { headers: headers }, settings: { OTEL_EXPORTER_OTLP_HEADERS_FILE: headers } }
{{- end }}
{{- end }}

{{/* What the chart sets for a role. */}}
{{- define "lablet.settings" -}}
{{- $values := .root.Values }}
LABLET_LOG: {{ $values.log }}
LABLET_LOG_FORMAT: json
LABLET_NATS_URL: {{ $values.bus.url }}
LABLET_NATS_INBOX_PREFIX: _INBOX_{{ .user }}
LABLET_NATS_REPLICAS: {{ $values.bus.replicas }}
{{- if eq .name "serve" }}
LABLET_HTTP: 0.0.0.0:{{ .port }}
LABLET_DRAIN_SECONDS: 5
{{- with $values.ingress.trustedProxies }}
LABLET_TRUSTED_PROXIES: {{ . }}
{{- end }}
{{- else if .port }}
LABLET_METRICS_ADDRESS: 0.0.0.0:{{ .port }}
{{- end }}
{{- if has .name (list "serve" "relay" "deliver") }}
LABLET_PUBLIC_URL: {{ $values.publicUrl }}
{{- end }}
{{- if eq .name "control" }}
LABLET_GATEWAY_URL: http://{{ include "lablet.name" .root }}-serve:8080
{{- end }}
{{- if and .port $values.metrics.enabled }}
LABLET_METRICS_READERS: {{ $values.metrics.readers }}
{{- end }}
{{- if and .port $values.telemetry.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ $values.telemetry.endpoint }}
{{- end }}
{{- end }}

{{/* A pod of a role, whose arguments are those of "lablet.pod" in each template. */}}
{{- define "lablet.pod" -}}
{{- $role := index .root.Values .name }}
{{- $files := include "lablet.files" . | fromYamlArray }}
metadata:
  labels:
    {{- include "lablet.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  # Nothing speaks to the cluster's API.
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: { type: RuntimeDefault }
  {{- if .port }}
  # 5 s until nobody sends requests any more, 5 s in which the gateway still answers and closes connections in order, 20 s in
  # which a role ends what it has begun, 4 s in which the last spans and metrics are sent; and a margin.
  terminationGracePeriodSeconds: 40
  topologySpreadConstraints:
    {{- range tuple "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "lablet.selector" $.root | nindent 10 }}
          app.kubernetes.io/component: {{ $.name }}
      # Pods that a rolling update takes away do not count.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- else }}
  restartPolicy: Never
  terminationGracePeriodSeconds: 30
  {{- end }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $role.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "lablet.image" (dict "root" .root "role" $role) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [{{ .name }}]
      env:
        {{- range $name, $value := include "lablet.settings" . | fromYaml }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- range $file := $files }}
        {{- range $name, $path := $file.settings }}
        - name: {{ $name }}
          value: /etc/lablet/{{ $file.folder }}/{{ $path }}
        {{- end }}
        {{- end }}
        {{- range $name, $value := $role.settings }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      {{- if .port }}
      ports:
        - name: {{ if eq .name "serve" }}http{{ else }}probes{{ end }}
          containerPort: {{ .port }}
      # A look at what the role needs is bounded by 2 s.
      startupProbe:
        httpGet: { path: /livez, port: {{ .port }} }
        periodSeconds: 2
        timeoutSeconds: 3
        failureThreshold: 30
      livenessProbe:
        httpGet: { path: /livez, port: {{ .port }} }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: { path: /readyz, port: {{ .port }} }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      lifecycle:
        # A pod is told to end and taken out of its Service at the same time: requests come until all have heard of it.
        preStop:
          sleep: { seconds: 5 }
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      resources: {{- toYaml $role.resources | nindent 8 }}
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        {{- range $files }}
        - { name: {{ .folder }}, mountPath: /etc/lablet/{{ .folder }}, readOnly: true }
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: { sizeLimit: 16Mi }
    {{- range $files }}
    - name: {{ .folder }}
      secret:
        secretName: {{ .secret }}
        defaultMode: 0440
        {{- with .items }}
        items:
          {{- range $key, $path := . }}
          - { key: {{ $key }}, path: {{ $path }} }
          {{- end }}
        {{- end }}
    {{- end }}
{{- end }}
