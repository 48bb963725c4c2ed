"""Defences against a vehicle or a producer that is enrolled: what it sends, holds and keeps doing."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_BOUNDS = "libraries/fleetloop/kit/bounds.py"
_MESSAGES = "libraries/fleetloop/domain/messages.py"
_DEAD = "libraries/fleetloop/kit/messaging/dead_letters.py"
_STORED = "libraries/fleetloop/domain/clips/stored.py"
_READER = "libraries/fleetloop/domain/clips/reader.py"
_READING = "libraries/fleetloop/domain/clips/reading_process.py"
_GATEWAY_RPC = "services/telemetry_gateway/rpc.py"
_LIMITS = "services/telemetry_gateway/vehicle_limits.py"
_TELEMETRY_TEST = "tests/security/test_accepted_telemetry_can_be_processed.py"
_ACCEPTED_TEST = "tests/security/test_what_is_accepted_can_be_processed.py"
_DEAD_TEST = "tests/integration/test_dead_letters.py"
_CLIPS_TEST = "tests/unit/fleetloop/domain/clips/test_stored.py"
_GATEWAY_TEST = "tests/integration/test_telemetry_gateway.py"
_OWN_TEST = "tests/unit/telemetry_gateway/test_rpc.py"
_LIMITS_TEST = "tests/unit/telemetry_gateway/test_vehicle_limits.py"
_REVOKED_TEST = "tests/security/test_a_revoked_caller_is_refused_by_every_server.py"
_VALUES = "sends values that stop what reads them later"
_FAILS = "sends a message on which a service fails all the same"
_UNPACKS = "sends a clip that unpacks to gigabytes"
_OTHER = "sends or uploads as another vehicle"
_HOLDS = "holds streams or uploads that others need"
_REVOKED = "goes on after it was revoked"

VEHICLES = (
    Defence(
        _VALUES,
        "values of columns are checked against the catalogue",
        (
            Change(
                "libraries/fleetloop/domain/validation.py",
                "        _check_shape(signal, known, frames, limits)\n",
                "",
            ),
        ),
        _TELEMETRY_TEST,
    ),
    Defence(
        _VALUES,
        "fields of a batch are within their bounds",
        (Change("services/telemetry_gateway/intake.py", "            _check_bounds(message)\n", ""),),
        _TELEMETRY_TEST,
    ),
    Defence(
        _VALUES,
        "amounts of a report fit into its window",
        (
            Change(
                "services/telemetry_gateway/core.py",
                "    most = most_per_second * (window_s + _SLACK_S)\n",
                "    return\n    most = most_per_second * (window_s + _SLACK_S)\n",
            ),
        ),
        _TELEMETRY_TEST,
    ),
    Defence(
        _VALUES,
        "no event is made with a field outside its bounds",
        (Change(_MESSAGES, "    check_bounds(message)\n    payload", "    payload"),),
        _ACCEPTED_TEST,
    ),
    Defence(
        _VALUES,
        "no event is read with a field outside its bounds",
        (
            Change(
                _MESSAGES,
                "        message.ParseFromString(record.value)\n        check_bounds(message)\n",
                "        message.ParseFromString(record.value)\n",
            ),
        ),
        _ACCEPTED_TEST,
    ),
    Defence(
        _VALUES,
        "no request arrives with a field outside its bounds",
        (Change("libraries/fleetloop/kit/rpc.py", "        check_bounds(request)\n", ""),),
        _ACCEPTED_TEST,
    ),
    Defence(
        _VALUES,
        "texts have the characters of their rule",
        (Change(_BOUNDS, '        return "" if not value or matches(value) else', '        return "" if True else'),),
        _ACCEPTED_TEST,
    ),
    Defence(
        _VALUES,
        "integers without declared bounds have those of their type",
        (
            Change(
                _BOUNDS,
                '    return lambda value: "" if low <= value <= high else',
                '    return lambda value: "" if True else',
            ),
        ),
        _ACCEPTED_TEST,
    ),
    Defence(
        _VALUES,
        "numbers are finite",
        (Change(_BOUNDS, "        if not math.isfinite(value):\n", "        if False:\n"),),
        _ACCEPTED_TEST,
    ),
    Defence(
        _FAILS,
        "a message that fails is set aside",
        (
            Change(
                _DEAD,
                "            return await set_aside(record, error, dead_letters, attempt)\n",
                "            raise\n",
            ),
        ),
        _DEAD_TEST,
    ),
    Defence(
        _FAILS,
        "a message that is set aside is kept",
        (Change(_DEAD, "    await dead_letters.send_to_dlq(record, error, attempts)\n", ""),),
        _DEAD_TEST,
    ),
    Defence(
        _FAILS,
        "a message that fails is tried once more",
        (Change(_DEAD, "\nATTEMPTS = 2\n", "\nATTEMPTS = 1\n"),),
        _DEAD_TEST,
    ),
    Defence(
        _UNPACKS,
        "the reading process has limited memory",
        (Change(_READING, "    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))\n", ""),),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "the reading process writes no files",
        (Change(_READING, "    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n", ""),),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "the reading process knows no secrets",
        (
            Change(
                _STORED,
                '    return {**kept, "OPENBLAS_NUM_THREADS"',
                '    return {**os.environ, **kept, "OPENBLAS_NUM_THREADS"',
            ),
        ),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "a reading has a time limit",
        (
            Change(
                _STORED,
                "receive(_Deadline(process, self._timeout_s).read",
                "receive(_Deadline(process, 20 * self._timeout_s).read",
            ),
            Change(
                _STORED,
                'f"takes more than {self._timeout_s:g} s to read"',
                'f"takes more than {20 * self._timeout_s:g} s to read"',
            ),
        ),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "what a clip unpacks to is limited",
        (
            Change(
                _READER,
                "            if record.uncompressed_size > limits.chunk_bytes or self._unpacked_bytes > "
                "limits.unpacked_bytes:\n",
                "            if False:\n",
            ),
        ),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "a chunk unpacks to no more than it says",
        (Change(_READER, "_declared_size(record.data) > record.uncompressed_size:", "False:"),),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "pictures have the size of their camera",
        (
            Change(
                "libraries/fleetloop/domain/clips/limits.py",
                "        wanted = self.pictures.get(camera)\n",
                "        return\n        wanted = self.pictures.get(camera)\n",
            ),
        ),
        _CLIPS_TEST,
    ),
    Defence(
        _UNPACKS,
        "what the reading process answers is checked",
        (
            Change(
                "libraries/fleetloop/domain/clips/transfer.py",
                "    if length > MAX_HEADER_BYTES:\n",
                "    if False:\n",
            ),
            Change(
                "libraries/fleetloop/domain/clips/transfer.py",
                "    if min(lengths, default=0) < 0 or sum(lengths) > most_bytes:\n",
                "    if False:\n",
            ),
        ),
        _CLIPS_TEST,
    ),
    Defence(
        _OTHER,
        "a batch is of the vehicle in the certificate",
        (
            Change(
                "services/telemetry_gateway/core.py",
                "    if vehicle_id != sender.vehicle_id:\n",
                "    if False:\n",
            ),
        ),
        _GATEWAY_TEST,
        "acknowledged or ingest",
    ),
    Defence(
        _OTHER,
        "a batch in Kafka is of the vehicle in its key",
        (
            Change(
                "services/telemetry_gateway/stream.py",
                "self._intake.prepare(message, self._sender(record), _SOURCE)",
                "self._intake.prepare(message, Sender(message.fleet_id, message.vehicle_id), _SOURCE)",
            ),
        ),
        _GATEWAY_TEST,
        "ingest",
    ),
    Defence(
        _OTHER,
        "reports, clips and commands are of the vehicle in the certificate",
        (
            Change(
                _GATEWAY_RPC,
                "    if (fleet_id, vehicle_id) != (sender.fleet_id, sender.vehicle_id):\n",
                "    if False:\n",
            ),
        ),
        _OWN_TEST,
    ),
    Defence(
        _OTHER,
        "the upload of a clip is of the vehicle in the certificate",
        (
            Change(
                _GATEWAY_RPC,
                '            _check_own(sender, clip.fleet_id, clip.vehicle_id, "header.vehicle_id")\n',
                "",
            ),
        ),
        _OWN_TEST,
    ),
    Defence(
        _OTHER,
        "only a vehicle itself hears its commands",
        (
            Change(
                _GATEWAY_RPC,
                '        _check_own(sender, request.fleet_id, request.vehicle_id, "vehicle_id")\n',
                "",
            ),
        ),
        _OWN_TEST,
    ),
    Defence(
        _HOLDS,
        "a newer stream ends the oldest of its vehicle",
        (Change(_LIMITS, "        if len(own) > limit:\n", "        if False:\n"),),
        _LIMITS_TEST,
    ),
    Defence(
        _HOLDS,
        "requests of one vehicle are limited",
        (Change(_LIMITS, "        if number >= self._max_requests:\n", "        if False:\n"),),
        _LIMITS_TEST,
    ),
    Defence(
        _HOLDS,
        "unfinished uploads of one vehicle are limited",
        (
            Change(
                "services/telemetry_gateway/uploads.py",
                "        while count > self._max_open or total > self._max_bytes:\n",
                "        while False:\n",
            ),
        ),
        _LIMITS_TEST,
    ),
    Defence(
        _HOLDS,
        "a silent stream ends",
        (Change(_LIMITS, "            async with asyncio.timeout(wait_s):\n", "            if wait_s:\n"),),
        _LIMITS_TEST,
    ),
    Defence(
        _REVOKED,
        "a revoked caller is refused",
        (
            Change(
                "libraries/fleetloop/kit/security/admission.py",
                "        refusal = entry.refusal_text(serial)\n",
                '        refusal = ""\n',
            ),
        ),
        _REVOKED_TEST,
    ),
    Defence(
        _REVOKED,
        "an open call is checked again",
        (
            Change(
                "libraries/fleetloop/kit/security/watch.py",
                "        try:\n            self._check()\n",
                "        try:\n            pass\n",
            ),
        ),
        _REVOKED_TEST,
    ),
    Defence(
        _REVOKED,
        "a changed list is read again",
        (
            Change(
                "libraries/fleetloop/kit/security/admission.py",
                "            if seen == self._seen:\n",
                "            if self._seen is not None:\n",
            ),
        ),
        _REVOKED_TEST,
    ),
    Defence(
        _REVOKED,
        "a server does not start without the list",
        (
            Change(
                "libraries/fleetloop/kit/rpc.py",
                "    if settings.tls_ca is None:\n        return NoAdmissions()\n",
                "    return NoAdmissions()\n",
            ),
        ),
        _REVOKED_TEST,
    ),
)
