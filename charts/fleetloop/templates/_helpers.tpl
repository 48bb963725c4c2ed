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

{{/* Environment that every component has. */}}
{{- define "fleetloop.env" -}}
{{- $root := .root -}}
{{- $snake := replace "-" "_" .name -}}
- {name: FLEETLOOP_FLEET_ID, value: {{ $root.Values.fleetId | quote }}}
- {name: FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS, value: {{ $root.Values.kafka.bootstrapServers | quote }}}
- {name: FLEETLOOP_GRPC_LISTEN, value: "0.0.0.0:9000"}
- {name: FLEETLOOP_HTTP_LISTEN, value: "0.0.0.0:9100"}
- {name: FLEETLOOP_TLS_CA, value: /tls/ca.crt}
- {name: FLEETLOOP_TLS_CERT, value: /tls/tls.crt}
- {name: FLEETLOOP_TLS_KEY, value: /tls/tls.key}
- {name: FLEETLOOP_STATE_DIR, value: /state}
- {name: FLEETLOOP_CONFIG_DIR, value: /config}
- {name: FLEETLOOP_OBJECTS_URL, value: {{ $root.Values.objectsUrl | quote }}}
- {name: FLEETLOOP_LOG_FORMAT, value: {{ $root.Values.logs.format }}}
- {name: FLEETLOOP_LOG_LEVEL, value: {{ $root.Values.logs.level }}}
- {name: FLEETLOOP_ADMISSION_LIST, value: /admission/vehicles.json}
- name: FLEETLOOP_INSTANCE_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $other, $_ := $root.Values.components }}
- name: FLEETLOOP_{{ $other | replace "-" "_" | upper }}_ADDRESS
  value: {{ printf "%s-%s:9000" $root.Release.Name $other | quote }}
{{- end }}
{{- if $root.Values.kafka.authentication }}
- name: FLEETLOOP_KAFKA_USERNAME
  valueFrom: {secretKeyRef: {name: {{ printf "%s-%s-kafka" $root.Release.Name .name }}, key: username}}
- name: FLEETLOOP_KAFKA_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ printf "%s-%s-kafka" $root.Release.Name .name }}, key: password}}
{{- end }}
{{- if $root.Values.database.existingSecret }}
- name: FLEETLOOP_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $root.Values.database.existingSecret }}, key: {{ .name }}, optional: true}}
{{- end }}
{{- if .component.signingKey }}
- {name: FLEETLOOP_SIGNING_KEY, value: {{ printf "/signing/%s" .component.signingKey }}}
{{- end }}
{{- if .component.trust }}
- {name: FLEETLOOP_TRUST_DIR, value: /trust}
{{- end }}
{{- if .component.pagePort }}
- {name: FLEETLOOP_PAGE_LISTEN, value: {{ printf "0.0.0.0:%d" (int .component.pagePort) | quote }}}
{{- end }}
{{- range $variable, $value := .component.env }}
- {name: {{ $variable }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
