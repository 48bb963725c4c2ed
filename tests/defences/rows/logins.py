"""Defences of the console: guessed passwords, and the answers of an identity provider."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_ROUTES = "services/fleet_console/login/routes.py"
_PEOPLE = "services/fleet_console/login/people.py"
_PROVIDER = "services/fleet_console/login/provider.py"
_ATTEMPTS = "services/fleet_console/login/attempts.py"
_PASSWORDS = "libraries/fleetloop/kit/security/passwords.py"
_GUESSES_TEST = "tests/security/test_guessing_a_password_has_to_wait.py"
_PROVIDER_TEST = "tests/security/test_the_provider_decides_who_you_are.py"
_GUESSES = "guesses passwords"
_ANSWER = "replays, injects or forges the answer of the identity provider"

LOGINS = (
    Defence(
        _GUESSES,
        "passwords are hashed with scrypt",
        (
            Change(
                _PASSWORDS,
                "    key = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY_BYTES)\n",
                "    key = hashlib.sha256(salt + password.encode()).digest()\n",
            ),
            Change(
                _PASSWORDS,
                "    found = hashlib.scrypt(\n"
                '        given.encode("utf-8", "replace"), salt=b64decode(salt), n=_N, r=_R, p=_P, '
                "maxmem=_MEMORY_BYTES\n    )\n",
                '    found = hashlib.sha256(b64decode(salt) + given.encode("utf-8", "replace")).digest()\n',
            ),
        ),
        _GUESSES_TEST,
    ),
    Defence(
        _GUESSES,
        "a name has to wait after wrong passwords",
        (Change(_ATTEMPTS, "        if count < FREE:\n", "        if True:\n"),),
        _GUESSES_TEST,
    ),
    Defence(
        _GUESSES,
        "all names together have to wait",
        (Change(_ATTEMPTS, "        if len(self._recent) >= IN_ALL:\n", "        if False:\n"),),
        _GUESSES_TEST,
    ),
    Defence(
        _GUESSES,
        "an unknown name gets the same answer",
        (
            Change(
                _ROUTES,
                "            return self._page(target, _WRONG, 403)\n",
                "            known = self._parts.people._stored(name) is not None\n"
                '            return self._page(target, _WRONG if known else "There is no such account.", 403)\n',
            ),
        ),
        _GUESSES_TEST,
    ),
    Defence(
        _GUESSES,
        "an unknown name takes as long",
        (
            Change(
                _PASSWORDS,
                "    try:\n        kind, n, r, p, salt, key = (stored",
                "    if stored is None:\n        return False\n    try:\n        kind, n, r, p, salt, key = (stored",
            ),
        ),
        _GUESSES_TEST,
    ),
    Defence(
        _ANSWER,
        "PKCE binds the code to this login",
        (Change(_PROVIDER, '                "code_challenge_method": "S256",\n', ""),),
        _PROVIDER_TEST,
        "known_group",
    ),
    Defence(
        _ANSWER,
        "an answer has the state of its login",
        (
            Change(
                _PROVIDER,
                '        request.scope["session"] = begun\n        try:\n            metadata',
                '        request.scope["session"] = begun\n'
                '        begun_state = next(iter(begun)).rpartition("_")[2]\n'
                '        query = [each for each in request.scope["query_string"].split(b"&") if b"state=" not in each]\n'
                '        request.scope["query_string"] = b"&".join([*query, f"state={begun_state}".encode()])\n'
                '        request.__dict__.pop("_query_params", None)\n'
                "        try:\n            metadata",
            ),
        ),
        _PROVIDER_TEST,
        "another_state",
    ),
    Defence(
        _ANSWER,
        "an ID token has the nonce of its login",
        (
            Change(
                _PROVIDER,
                '        request.scope["session"] = begun\n        try:\n            metadata',
                '        request.scope["session"] = begun\n'
                "        for each in begun.values():\n"
                '            each["data"]["nonce"] = ""\n'
                "        try:\n            metadata",
            ),
            Change(_PROVIDER, '                    "nonce": {"essential": True},\n', ""),
        ),
        _PROVIDER_TEST,
        "another_nonce",
    ),
    Defence(
        _ANSWER,
        "an answer is of this provider",
        (
            Change(
                _PROVIDER,
                '            if (said := request.query_params.get("iss")) is not None and said != metadata["issuer"]:\n',
                '            if (said := request.query_params.get("iss")) is None and said == metadata["issuer"]:\n',
            ),
        ),
        _PROVIDER_TEST,
        "another_issuer",
    ),
    Defence(
        _ANSWER,
        "an answer counts once",
        (
            Change(
                _PROVIDER,
                "self._begun.pop(cookie, (0, None))",
                "self._begun.get(cookie, (0, None))",
            ),
        ),
        _PROVIDER_TEST,
        "any_answer_spends",
    ),
    Defence(
        _ANSWER,
        "an answer counts in the browser that asked",
        (
            Change(
                _PROVIDER,
                "self._begun.pop(cookie, (0, None))",
                "self._begun.popitem()[1] if self._begun else (0, None)",
            ),
        ),
        _PROVIDER_TEST,
        "once",
    ),
    Defence(
        _ANSWER,
        "an answer comes in time",
        (
            Change(
                _PROVIDER,
                "        if begun is None or self._clock.monotonic_ns() - begun_ns > seconds_to_ns(LOGIN_S):\n",
                "        if begun is None:\n",
            ),
        ),
        _PROVIDER_TEST,
        "too_late",
    ),
    Defence(
        _ANSWER,
        "an ID token is verified",
        (
            Change(
                _PROVIDER,
                "            token = await self._client.authorize_access_token(\n",
                "            import base64\n            import json\n\n"
                "            async def unverified(token: Any, **_: object) -> Any:\n"
                '                part = token["id_token"].split(".")[1]\n'
                '                return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))\n\n'
                '            setattr(self._client, "parse_id_token", unverified)\n'
                "            token = await self._client.authorize_access_token(\n",
            ),
        ),
        _PROVIDER_TEST,
        "forged",
    ),
    Defence(
        _ANSWER,
        "no shared secret and no missing signature counts",
        (Change(_PROVIDER, "[alg for alg in offered if alg in _SIGNED_BY]", "list(offered)"),),
        _PROVIDER_TEST,
        "forged",
    ),
    Defence(
        _ANSWER,
        "a group without roles lets no one in",
        (Change(_PEOPLE, "        if not roles:\n", "        if False:\n"),),
        _PROVIDER_TEST,
        "known_group or other_shapes",
    ),
)
