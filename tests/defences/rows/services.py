"""Defences against one compromised service, or one writable topic or folder."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_PERMISSIONS = "libraries/fleetloop/kit/messaging/permissions.py"
_ARTIFACTS = "libraries/fleetloop/domain/artifacts.py"
_ADDRESSES = "libraries/fleetloop/kit/storage/addresses.py"
_KAFKA_TEST = "tests/security/test_kafka_denies_by_default.py"
_SWAPPED_TEST = "tests/security/test_swapped_files_start_no_run.py"
_FORGED_TEST = "tests/security/test_a_forged_event_chooses_no_data.py"
_RIGHTS_TEST = "tests/security/test_the_console_lends_no_rights.py"
_TOPICS = "writes to topics that are not its own"
_SWAPS = "swaps files in the object store that are trained on"
_EVENT = "writes a dataset, training, model or campaign event without being its owner"
_NAMES = "names a person and roles without being the console"

SERVICES = (
    Defence(
        _TOPICS,
        "only the owner writes a topic",
        (
            Change(
                _PERMISSIONS,
                '                allowed.setdefault((reader, topic.name), set()).add("Read")\n',
                '                allowed.setdefault((reader, topic.name), set()).update(("Read", "Write"))\n',
            ),
        ),
        _KAFKA_TEST,
        "nobody_writes",
    ),
    Defence(
        _TOPICS,
        "a service joins only its own group",
        (
            Change(
                _PERMISSIONS,
                '        yield Rule(user, "group", user, ("Describe", "Read"), prefixed=user == SUBSCRIBERS)\n',
                '        yield Rule(user, "group", "*", ("Describe", "Read"))\n',
            ),
        ),
        _KAFKA_TEST,
        "nobody_joins",
    ),
    Defence(
        _SWAPS,
        "vehicle files have the digest of the model",
        (Change(_ARTIFACTS, "    if found != model_digest:\n", "    if False:\n"),),
        _SWAPPED_TEST,
    ),
    Defence(
        _SWAPS,
        "weights have the digest of the card",
        (Change(_ARTIFACTS, "    if sha256_hex(contents[WEIGHTS]) != expected:\n", "    if False:\n"),),
        _SWAPPED_TEST,
    ),
    Defence(
        _SWAPS,
        "weights without a digest are not used",
        (
            Change(
                _ARTIFACTS, "    if not expected:\n", "    if not expected:\n        return\n    if not expected:\n"
            ),
        ),
        _SWAPPED_TEST,
    ),
    Defence(
        _SWAPS,
        "a table is below the fleet's own storage",
        (
            Change(
                _ADDRESSES,
                "    return bool(_NAME.fullmatch(dataset)) and address == table_address(root, dataset)\n",
                "    return True\n",
            ),
        ),
        _SWAPPED_TEST,
    ),
    Defence(
        _SWAPS,
        "an object is below the fleet's own storage",
        (
            Change(
                _ADDRESSES,
                '    first, *others = address.split("/")\n',
                '    return True\n    first, *others = address.split("/")\n',
            ),
        ),
        _SWAPPED_TEST,
    ),
    Defence(
        _EVENT,
        "signatures are verified where events are read",
        (Change("libraries/fleetloop/kit/storage/inbox.py", "        self._trust.verify(record)\n", ""),),
        _FORGED_TEST,
    ),
    Defence(
        _EVENT,
        "an event without a signature is refused",
        (
            Change(
                "libraries/fleetloop/kit/messaging/signatures.py",
                "        if signature is None:\n",
                "        if signature is None:\n            return\n        if signature is None:\n",
            ),
        ),
        _FORGED_TEST,
    ),
    Defence(
        _EVENT,
        "the key is that of the topic's owner",
        (
            Change(
                "libraries/fleetloop/kit/messaging/signatures.py",
                "        keys = self.keys.get(record.topic)\n        if keys is None:\n            return\n",
                "        if record.topic not in self.keys:\n            return\n"
                "        keys = [key for each in self.keys.values() for key in each]\n",
            ),
        ),
        _FORGED_TEST,
    ),
    Defence(
        _NAMES,
        "only speakers name a person",
        (
            Change(
                "libraries/fleetloop/kit/security/gate.py",
                "            if values and not self._policy.may_speak(speaker):\n",
                "            if False:\n",
            ),
        ),
        _RIGHTS_TEST,
    ),
    Defence(
        _NAMES,
        "config/access.yaml has one speaker",
        (Change("config/access.yaml", "speakers: [fleet-console]", "speakers: [fleet-console, label-router]"),),
        _RIGHTS_TEST,
    ),
    Defence(
        _NAMES,
        "a speaker has a certificate of a service",
        (
            Change(
                "libraries/fleetloop/kit/security/access.py",
                "        return who.kind == IdentityKind.SERVICE and who.name in self.speakers\n",
                "        return who.kind != IdentityKind.VEHICLE and (\n"
                "            who.kind == IdentityKind.USER or who.name in self.speakers\n"
                "        )\n",
            ),
        ),
        _RIGHTS_TEST,
    ),
)
