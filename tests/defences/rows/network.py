"""Defences against someone on the network."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_ROLES = "tests/security/test_a_labeller_cannot_roll_back_a_model.py"
_TABLE = "tests/contract/test_who_may_call.py"
_SERVERS = "tests/security/test_a_client_refuses_another_server.py"
_KAFKA = "tests/security/test_kafka_denies_by_default.py"
_FILES = "tests/integration/test_files_of_a_run.py"
_CALLS = "calls a server without being enrolled, or with a right that is not theirs"
_STANDS_IN = "stands in for a server with another certificate of the fleet"
_BROKER = "reads or writes Kafka"
_RUN = "reads files of a run on a shared machine"

NETWORK = (
    Defence(
        _CALLS,
        "servers ask for a certificate",
        (Change("libraries/fleetloop/kit/rpc.py", "require_client_auth=True", "require_client_auth=False"),),
        _ROLES,
        "certificate_gets_no_connection",
    ),
    Defence(
        _CALLS,
        "only callers of the admission list are admitted",
        (
            Change(
                "libraries/fleetloop/kit/security/admission.py",
                "        entry = self.find(who)\n        if entry is None:\n",
                "        entry = self.find(who)\n"
                '        if entry is None:\n            return Admission(who.uri, "", "", roles=("operator",))\n'
                "        if entry is None:\n",
            ),
        ),
        _ROLES,
    ),
    Defence(
        _CALLS,
        "the policy is asked for every call",
        (
            Change(
                "libraries/fleetloop/kit/security/gate.py",
                "        self._policy.check(found.identity, found.roles, method, from_login=person is not None)\n",
                "",
            ),
        ),
        _ROLES,
    ),
    Defence(
        _CALLS,
        "config/access.yaml lets no labeller roll back a model",
        (
            Change(
                "config/access.yaml",
                "RolloutService/RollBack: {roles: [release-manager, operator]}",
                "RolloutService/RollBack: {roles: [release-manager, operator, labeller]}",
            ),
        ),
        _TABLE,
    ),
    Defence(
        _CALLS,
        "a method without a rule is for no caller",
        (
            Change(
                "libraries/fleetloop/kit/security/access.py",
                "        if rule is None:\n            return False\n",
                "        if rule is None:\n            return True\n",
            ),
        ),
        _TABLE,
    ),
    Defence(
        _STANDS_IN,
        "clients verify which service answers",
        (
            Change(
                "libraries/fleetloop/kit/rpc.py",
                "    options.append(expect_server(service, own))\n",
                "",
            ),
        ),
        _SERVERS,
        "any_other_certificate",
    ),
    Defence(
        _STANDS_IN,
        "the command line verifies which service answers",
        (
            Change(
                "libraries/fleetloop/api/channel.py",
                "    options = [expect_server(service, credentials.cert.read_bytes())]\n",
                "    options: list[tuple[str, str]] = []\n",
            ),
        ),
        _SERVERS,
    ),
    Defence(
        _STANDS_IN,
        "certificates of vehicles and people are no servers",
        (
            Change(
                "libraries/fleetloop/kit/security/certificates.py",
                "[ExtendedKeyUsageOID.SERVER_AUTH] if identity.kind == IdentityKind.SERVICE else []",
                "[ExtendedKeyUsageOID.SERVER_AUTH]",
            ),
        ),
        _SERVERS,
    ),
    Defence(
        "takes all places of a server",
        "the open calls of one caller are limited",
        (
            Change(
                "libraries/fleetloop/kit/security/open_calls.py",
                "        if self._open[caller] >= most:\n",
                "        if False:\n",
            ),
        ),
        "tests/security/test_one_caller_cannot_take_all_places.py",
    ),
    Defence(
        _BROKER,
        "the broker denies what no rule allows",
        (
            Change(
                "libraries/fleetloop/embedded/broker/node.py",
                "allow.everyone.if.no.acl.found=false",
                "allow.everyone.if.no.acl.found=true",
            ),
        ),
        _KAFKA,
        "nobody_",
    ),
    Defence(
        _BROKER,
        "every user has a password of its own",
        (
            Change(
                "libraries/fleetloop/embedded/broker/users.py",
                "replace_text(self._file(name), secrets.token_hex(_PASSWORD_BYTES), mode=0o600, sync=True)",
                'replace_text(self._file(name), "0" * 48, mode=0o600, sync=True)',
            ),
        ),
        _KAFKA,
        "wrong_and_missing",
    ),
    Defence(
        _BROKER,
        "rights that the catalogue no longer gives are withdrawn",
        (
            Change(
                "libraries/fleetloop/kit/messaging/granting.py",
                "        if present - expected:\n",
                "        if False:\n",
            ),
        ),
        _KAFKA,
        "withdrawn",
    ),
    Defence(
        _BROKER,
        "the chart gives every service a Kafka user",
        (
            Change(
                "charts/fleetloop/values.yaml",
                "  authentication: scram-sha-512\n",
                "  authentication: anyone-may-read-and-write-every-topic\n",
            ),
        ),
        "tests/contract/test_chart.py",
        "kafka",
    ),
    Defence(
        _RUN,
        "services create files for their owner only",
        (Change("libraries/fleetloop/supervisor/launcher.py", "os.umask(0o077)", "os.umask(0o022)"),),
        _FILES,
    ),
    Defence(
        _RUN,
        "the process that starts a run creates files for its owner only",
        (Change("libraries/fleetloop/kit/process/private_files.py", "UMASK = 0o077", "UMASK = 0o022"),),
        _FILES,
    ),
    Defence(
        _RUN,
        "the folder of a run is closed to others",
        (
            Change(
                "libraries/fleetloop/supervisor/supervisor.py",
                "    layout.root.chmod(0o700)",
                "    layout.root.chmod(0o755)",
            ),
        ),
        _FILES,
    ),
)
