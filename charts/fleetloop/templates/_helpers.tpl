{{/* Labels of one component. Call with a dict of root and name. */}}
{{- define "fleetloop.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: fleetloop
{{- end }}

{{/* Name of one component's objects. */}}
{{- define "fleetloop.name" -}}
{{ .root.Release.Name }}-{{ .name }}
{{- end }}

{{/* Reference of the image. Call with a dict of root and image (empty: image.name). */}}
{{- define "fleetloop.image" -}}
{{- $image := .root.Values.image -}}
{{ printf "%s%s:%s" $image.registry (default $image.name .image) (default .root.Chart.AppVersion $image.tag) }}
{{- end }}

{{/* True when the object store is a volume. */}}
{{- define "fleetloop.objectsOnVolume" -}}
{{- if hasPrefix "file://" .Values.objectsUrl -}}true{{- end -}}
{{- end }}

{{/* Security context of every container. */}}
{{- define "fleetloop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Security context of every pod. */}}
{{- define "fleetloop.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* "true" unless Kafka is open to anyone. */}}
{{- define "fleetloop.kafkaAuthentication" -}}
{{- if eq .Values.kafka.authentication "scram-sha-512" }}true{{ end -}}
{{- end }}

{{/* Environment with the Kafka user of one component, or of the topics job. Call with a dict of root and name. */}}
{{- define "fleetloop.kafkaUser" -}}
{{- $secret := include "fleetloop.name" . | printf "%s-kafka" -}}
{{- if .root.Values.kafka.usersByStrimzi }}
- {name: FLEETLOOP_KAFKA_USERNAME, value: {{ $secret }}}
{{- else }}
- name: FLEETLOOP_KAFKA_USERNAME
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: username}}
{{- end }}
- name: FLEETLOOP_KAFKA_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: password}}
{{- if .root.Values.kafka.caSecret }}
- {name: FLEETLOOP_KAFKA_CA, value: /kafka/ca.crt}
{{- end }}
{{- end }}

{{/* Volume with the brokers' CA. */}}
{{- define "fleetloop.kafkaCa" -}}
name: kafka
secret: {secretName: {{ .Values.kafka.caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}

{{/* Environment of every component. */}}
{{- define "fleetloop.env" -}}
{{- $root := .root -}}
- {name: FLEETLOOP_FLEET_ID, value: {{ $root.Values.fleetId | quote }}}
- {name: FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS, value: {{ $root.Values.kafka.bootstrapServers | quote }}}
- {name: FLEETLOOP_GRPC_LISTEN, value: "0.0.0.0:9000"}
- {name: FLEETLOOP_HTTP_LISTEN, value: "0.0.0.0:9100"}
- {name: FLEETLOOP_TLS_CA, value: /tls/ca.crt}
- {name: FLEETLOOP_TLS_CERT, value: /tls/tls.crt}
- {name: FLEETLOOP_TLS_KEY, value: /tls/tls.key}
- {name: FLEETLOOP_RENEWAL_WITHIN_S, value: {{ $root.Values.tls.renewalWithinSeconds | quote }}}
- {name: FLEETLOOP_STATE_DIR, value: /state}
- {name: XDG_CACHE_HOME, value: /state/cache}
- {name: FLEETLOOP_CONFIG_DIR, value: /config}
{{- if ne .component.objects "none" }}
- {name: FLEETLOOP_OBJECTS_URL, value: {{ $root.Values.objectsUrl | quote }}}
{{- end }}
- {name: FLEETLOOP_LOG_FORMAT, value: {{ $root.Values.logs.format }}}
- {name: FLEETLOOP_LOG_LEVEL, value: {{ $root.Values.logs.level }}}
- {name: FLEETLOOP_ADMISSION_LIST, value: /admission/admission.json}
- name: FLEETLOOP_INSTANCE_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $other, $_ := $root.Values.components }}
- name: FLEETLOOP_{{ $other | replace "-" "_" | upper }}_ADDRESS
  value: {{ printf "%s-%s:9000" $root.Release.Name $other | quote }}
{{- end }}
{{- if and (include "fleetloop.kafkaAuthentication" $root) .component.kafka }}
{{ include "fleetloop.kafkaUser" . }}
{{- end }}
{{- if and $root.Values.database.existingSecret .component.database }}
- name: FLEETLOOP_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $root.Values.database.existingSecret }}, key: {{ .name }}, optional: true}}
{{- end }}
{{- if .component.kafka }}
- {name: FLEETLOOP_EVENT_TRUST, value: /event-trust/event-trust.yaml}
{{- end }}
{{- if .component.eventKey }}
- {name: FLEETLOOP_EVENT_KEY, value: /event-key/event.pem}
{{- end }}
{{- if .component.signingKey }}
- {name: FLEETLOOP_SIGNING_KEY, value: {{ printf "/signing/%s" .component.signingKey }}}
{{- end }}
{{- if .component.trust }}
- {name: FLEETLOOP_TRUST_DIR, value: /trust}
{{- end }}
{{- if .component.pagePort }}
- {name: FLEETLOOP_PAGE_LISTEN, value: {{ printf "0.0.0.0:%d" (int .component.pagePort) | quote }}}
- {name: FLEETLOOP_PAGE_ORIGIN, value: {{ $root.Values.console.origin | quote }}}
- {name: FLEETLOOP_PAGE_HOSTS, value: {{ $root.Values.console.hosts | quote }}}
{{- with $root.Values.console.oidc }}
{{- if .issuer }}
- {name: FLEETLOOP_OIDC_ISSUER, value: {{ .issuer | quote }}}
- {name: FLEETLOOP_OIDC_CLIENT_ID, value: {{ required "console.oidc.clientId: name of the console at the provider" .clientId | quote }}}
- {name: FLEETLOOP_OIDC_SCOPES, value: {{ .scopes | quote }}}
- {name: FLEETLOOP_OIDC_NAME_CLAIM, value: {{ .nameClaim | quote }}}
- {name: FLEETLOOP_OIDC_ROLES_CLAIM, value: {{ .rolesClaim | quote }}}
- {name: FLEETLOOP_OIDC_GROUPS, value: {{ .groups | toJson | quote }}}
{{- if .clientSecret }}
- name: FLEETLOOP_OIDC_CLIENT_SECRET
  valueFrom: {secretKeyRef: {name: {{ .clientSecret }}, key: secret}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if .component.threads }}
{{- range tuple "OMP_NUM_THREADS" "OPENBLAS_NUM_THREADS" "MKL_NUM_THREADS" "POLARS_MAX_THREADS" }}
- {name: {{ . }}, value: {{ $.component.threads | quote }}}
{{- end }}
{{- end }}
{{- range $variable, $value := .component.env }}
- {name: {{ $variable }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
