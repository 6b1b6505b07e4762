{{/* What has to be given and is not, all of it at once: each with its path and what would be right. */}}
{{- define "lablet.check" -}}
{{- $values := .Values }}
{{- $secrets := $values.secrets }}
{{- $faults := list }}
{{- $needed := list
  (list "image.repository" $values.image.repository "where your image of Lablet is")
  (list "publicUrl" $values.publicUrl "how the gateway is reached from outside, e.g. https://lablet.example.org")
  (list "secrets.database.owner" $secrets.database.owner "a Secret with the key url: postgres://… of the database's owner")
  (list "secrets.database.app" $secrets.database.app "a Secret with the key url: postgres://lablet_app:…")
  (list "secrets.database.projector" $secrets.database.projector "a Secret with the key url: postgres://lablet_projector:…")
  (list "secrets.bus" $secrets.bus "a Secret with the keys of `lablet bus-config`: operator.nk, commands.nk, projector.nk, relay.nk, webhooks.nk, controller.nk and ca.pem")
}}
{{- if $values.control.enabled }}
{{- $needed = concat $needed (list
  (list "secrets.internalApiKey" $secrets.internalApiKey "a Secret with the key key: what controllers call the gateway with")
  (list "secrets.cml" $secrets.cml "a Secret with the key credentials.toml: sign-ins of CML")
  (list "serve.settings.LABLET_INTERNAL_API_KEY_HASHES" (get $values.serve.settings "LABLET_INTERNAL_API_KEY_HASHES") "controller:SHA-256 of the key in secrets.internalApiKey")
) }}
{{- end }}
{{- if $values.deliver.enabled }}
{{- $needed = append $needed (list "secrets.webhooks" $secrets.webhooks "a Secret with the key webhooks.toml, and a key for each file that it names") }}
{{- end }}
{{- if $values.metrics.enabled }}
{{- $needed = append $needed (list "metrics.readers" $values.metrics.readers "networks from which Prometheus reads /metrics, e.g. that of the pods") }}
{{- end }}
{{- if $values.network.enabled }}
{{- $needed = append $needed (list "network.clients" $values.network.clients "who reaches the API and the pages, e.g. the namespace of the ingress controller") }}
{{- if $values.control.enabled }}
{{- $needed = append $needed (list "network.cml.to" $values.network.cml.to "the CML workers, e.g. an ipBlock") }}
{{- end }}
{{- if $values.deliver.enabled }}
{{- $needed = append $needed (list "network.webhooks.to" $values.network.webhooks.to "the targets of webhooks") }}
{{- end }}
{{- if $values.metrics.enabled }}
{{- $needed = append $needed (list "network.prometheus" $values.network.prometheus "the pods of Prometheus") }}
{{- end }}
{{- if get $values.serve.settings "LABLET_OIDC_ISSUER" }}
{{- $needed = append $needed (list "network.openid.to" $values.network.openid.to "the OpenID provider of LABLET_OIDC_ISSUER") }}
{{- end }}
{{- if $values.telemetry.endpoint }}
{{- $needed = append $needed (list "network.collector.to" $values.network.collector.to "the collector of telemetry.endpoint") }}
{{- end }}
{{- end }}
{{- range $needed }}
{{- if not (index . 1) }}
{{- $faults = append $faults (printf "%s is missing: %s" (index . 0) (index . 2)) }}
{{- end }}
{{- end }}
{{- $own := list "LABLET_HTTP" "LABLET_METRICS_ADDRESS" "LABLET_METRICS_READERS" "LABLET_PUBLIC_URL" "LABLET_GATEWAY_URL" "LABLET_NATS_URL" "LABLET_NATS_INBOX_PREFIX" "LABLET_NATS_REPLICAS" "LABLET_DRAIN_SECONDS" "LABLET_NATS_NKEY" "LABLET_NATS_CA" "LABLET_LOG" "LABLET_LOG_FORMAT" "LABLET_TRUSTED_PROXIES" "LABLET_CML_CREDENTIALS" "LABLET_CML_CA" "LABLET_OIDC_CA" "LABLET_WEBHOOKS" "OTEL_EXPORTER_OTLP_ENDPOINT" }}
{{- $secret := list "LABLET_DATABASE_URL" "LABLET_ANALYST_DATABASE_URL" "LABLET_ANALYST_PASSWORD" "LABLET_REPLICA_DATABASE_URL" "LABLET_NATS_TOKEN" "LABLET_NATS_PASSWORD" "LABLET_INTERNAL_API_KEY" "LABLET_CML_USERNAME" "LABLET_CML_PASSWORD" "LABLET_OIDC_CLIENT_SECRET" "LABLET_TOKEN" "OTEL_EXPORTER_OTLP_HEADERS" }}
{{- range $role := list "serve" "project" "relay" "control" "deliver" "migrate" }}
{{- range $name, $_ := (index $values $role).settings }}
{{- if has (trimSuffix "_FILE" $name) $secret }}
{{- $faults = append $faults (printf "%s.settings.%s is a secret: name a Secret below secrets instead" $role $name) }}
{{- else if has $name $own }}
{{- $faults = append $faults (printf "%s.settings.%s is set by the chart from another value" $role $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.ingress.enabled $values.publicUrl }}
{{- if trimSuffix "/" (urlParse $values.publicUrl).path }}
{{- $faults = append $faults "ingress.enabled serves the root of a host, and publicUrl has a path: bring an Ingress of your own, which strips it" }}
{{- end }}
{{- end }}
{{- /* Where a cluster is asked, whether the Secrets are there and have what is mounted of them. */}}
{{- if lookup "v1" "ServiceAccount" .Release.Namespace "default" }}
{{- $pods := merge (dict "migrate" (dict "user" "operator" "database" "owner")) (include "lablet.roles" . | fromYaml) }}
{{- range $name, $facts := $pods }}
{{- range $file := include "lablet.files" (merge (dict "root" $ "name" $name) $facts) | fromYamlArray }}
{{- if $file.secret }}
{{- $found := lookup "v1" "Secret" $.Release.Namespace $file.secret }}
{{- if not $found }}
{{- $faults = append $faults (printf "the Secret %s is not in the namespace %s" $file.secret $.Release.Namespace) }}
{{- else }}
{{- range $key := keys ($file.items | default (dict "webhooks.toml" "")) | sortAlpha }}
{{- if not (hasKey ($found.data | default dict) $key) }}
{{- $faults = append $faults (printf "the Secret %s has no key %s" $file.secret $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $faults }}
{{- fail (printf "\n\n- %s\n\ndocs/kubernetes.md says what each value is for.\n" (join "\n- " ($faults | uniq))) }}
{{- end }}
{{- end }}
