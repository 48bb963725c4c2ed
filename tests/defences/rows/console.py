"""Defences against a visitor of the console."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_DOORS = "services/fleet_console/login/doors.py"
_ROUTES = "services/fleet_console/login/routes.py"
_HANDLING = "services/fleet_console/handling.py"
_PASSWORDS = "libraries/fleetloop/kit/security/passwords.py"
_DOORS_TEST = "tests/security/test_the_console_asks_who_you_are.py"
_RIGHTS_TEST = "tests/security/test_the_console_lends_no_rights.py"
_HANDLING_TEST = "tests/unit/fleet_console/test_handling.py"
_DEAD_TEST = "tests/browser/test_dead_letters_page.py"
_TERMINAL_TEST = "tests/integration/test_console_login.py"
_OPENS = "opens pages or files without a login, or those of other roles"
_DECIDES = "decides about messages that were set aside without being an operator"
_ACTS = "makes a person's browser act (CSRF, websockets, DNS rebinding, frames)"
_FINDS = "finds a way in in a log or a file"

CONSOLE = (
    Defence(
        _OPENS,
        "pages and files need a session",
        (
            Change(
                _DOORS,
                "        if session is None or roles is None:\n"
                "            await self._to_login(scope, send)\n"
                "            return\n",
                "        from fleet_console.login.sessions import Person\n\n"
                '        session = session or Session("", Person("anyone", from_provider=False), 0, 0)\n'
                '        roles = roles or ("lead", "operator")\n',
            ),
        ),
        _DOORS_TEST,
        "without_a_session",
    ),
    Defence(
        _OPENS,
        "websockets need a session",
        (
            Change(
                _DOORS,
                "        if session is None or not allowed:\n            await receive()\n",
                "        if session is None:\n            await self._inner(scope, receive, send)\n            return\n"
                "        if not allowed:\n            await receive()\n",
            ),
        ),
        _DOORS_TEST,
        "websocket",
    ),
    Defence(
        _OPENS,
        "a page needs one of its roles",
        (
            Change(
                _DOORS,
                "        if path in self._rights.pages and not self._rights.may_open(path, roles):\n",
                "        if False:\n",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _OPENS,
        "the console has no rights of its own",
        (
            Change(
                "config/access.yaml",
                "LabelService/SubmitLabel: {roles: [labeller, lead]}",
                "LabelService/SubmitLabel: {roles: [labeller, lead], services: [fleet-console]}",
            ),
        ),
        _RIGHTS_TEST,
    ),
    Defence(
        _OPENS,
        "the roles of the person decide",
        (
            Change(
                "libraries/fleetloop/kit/security/gate.py",
                "        return Caller(person, roles)\n",
                "        return Caller(person, tuple(self._policy.roles))\n",
            ),
        ),
        _RIGHTS_TEST,
    ),
    Defence(
        _DECIDES,
        "the role is checked for each action",
        (Change(_HANDLING, "            if HANDLES_DEAD_LETTERS not in roles:\n", "            if False:\n"),),
        _HANDLING_TEST,
    ),
    Defence(
        _DECIDES,
        "the name is recorded",
        (Change(_HANDLING, 'f"user/{visit.name}", clock)', '"user/console", clock)'),),
        _DEAD_TEST,
    ),
    Defence(
        _ACTS,
        "requests that change something come from the own origin",
        (
            Change(
                _DOORS, '        if scope["method"] not in SAFE_METHODS and not self', "        if False and not self"
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _ACTS,
        "websockets come from the own origin",
        (
            Change(
                _DOORS,
                'self._hosts.knows(host) and self._hosts.own(headers.get("origin", ""), host, scheme)',
                "self._hosts.knows(host)",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _ACTS,
        "requests use the console's own names",
        (Change(_DOORS, '        if not self._hosts.knows(headers.get("host", "")):\n', "        if False:\n"),),
        _DOORS_TEST,
    ),
    Defence(
        _ACTS,
        "websockets use the console's own names",
        (
            Change(
                _DOORS,
                'self._hosts.knows(host) and self._hosts.own(headers.get("origin", ""), host, scheme)',
                'self._hosts.own(headers.get("origin", ""), host, scheme)',
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _ACTS,
        "the cookie is not sent by other sites",
        (
            Change(
                _ROUTES,
                'path=path, secure=self._secure, httponly=True, samesite="lax"',
                'path=path, secure=self._secure, httponly=True, samesite="none"',
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _ACTS,
        "no page is shown in a frame",
        (
            Change(_DOORS, '                b"x-frame-options": b"DENY",\n', ""),
            Change(_DOORS, "form-action 'self'; frame-ancestors 'none'\"", "form-action 'self'\""),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _FINDS,
        "passwords are stored as hashes",
        (
            Change(
                _PASSWORDS,
                '    return "$".join(("scrypt", str(_N), str(_R), str(_P), b64encode(salt).decode(), '
                "b64encode(key).decode()))\n",
                '    return "$".join(("scrypt", str(_N), str(_R), str(_P), b64encode(salt).decode(), password))\n',
            ),
        ),
        _DOORS_TEST,
        "what_is_stored",
    ),
    Defence(
        _FINDS,
        "links are stored as hashes",
        (
            Change(
                _PASSWORDS,
                "        return self._folder / f\"{hashlib.sha256(secret.encode('utf-8', 'replace')).hexdigest()}.json\"\n",
                '        return self._folder / f"{secret}.json"\n',
            ),
        ),
        _DOORS_TEST,
        "what_is_stored",
    ),
    Defence(
        _FINDS,
        "a link is shown on a terminal only",
        (
            Change(
                "libraries/fleetloop/commands/run.py",
                "    if not on_terminal:\n        return",
                "    if False:\n        return",
            ),
        ),
        _TERMINAL_TEST,
        "background",
    ),
    Defence(
        _FINDS,
        "a link works once",
        (Change(_PASSWORDS, "            self._file(secret).unlink()\n", "            self._file(secret).stat()\n"),),
        _DOORS_TEST,
    ),
    Defence(
        _FINDS,
        "a link works for ten minutes",
        (
            Change(
                _PASSWORDS,
                "is_person_name(name) and now_utc_s <= expires <= now_utc_s + LINK_S else None",
                "is_person_name(name) else None",
            ),
        ),
        _DOORS_TEST,
    ),
)
