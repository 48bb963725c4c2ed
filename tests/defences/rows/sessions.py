"""Defences of the console: sessions, and scripts in its pages."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_DOORS = "services/fleet_console/login/doors.py"
_SESSIONS = "services/fleet_console/login/sessions.py"
_ROUTES = "services/fleet_console/login/routes.py"
_PEOPLE = "services/fleet_console/login/people.py"
_PICTURES = "services/fleet_console/pages/pictures.py"
_DOORS_TEST = "tests/security/test_the_console_asks_who_you_are.py"
_PICTURES_TEST = "tests/unit/fleet_console/test_pictures.py"
_STEALS = "steals or plants a session"
_SCRIPT = "gets a script into a page by a name, a label or a picture"

SESSIONS = (
    Defence(
        _STEALS,
        "tokens are random",
        (
            Change(
                _SESSIONS,
                "token, now = secrets.token_urlsafe(32), self",
                "token, now = hashlib.sha256(person.name.encode()).hexdigest(), self",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "scripts cannot read the cookie",
        (
            Change(
                _ROUTES,
                'path=path, secure=self._secure, httponly=True, samesite="lax"',
                'path=path, secure=self._secure, samesite="lax"',
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "the session before a login ends",
        (Change(_SESSIONS, "        self.end(former_token)\n", ""),),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a login gives a new token",
        (
            Change(
                _SESSIONS,
                "token, now = secrets.token_urlsafe(32), self",
                "token, now = former_token or secrets.token_urlsafe(32), self",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a session ends without use",
        (Change(_SESSIONS, "now - session.used_ns > self._idle_ns or now", "now"),),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a session ends after a time in all",
        (
            Change(
                _SESSIONS,
                "self._idle_ns or now - session.started_ns > self._longest_ns\n",
                "self._idle_ns\n",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a logout ends the session",
        (
            Change(
                _SESSIONS,
                '            self._end(each, "logged out")\n',
                "            pass\n",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a logout everywhere ends all sessions",
        (Change(_SESSIONS, "if everywhere and each.person.name == name]", "if False]"),),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a session ends with the admission of its person",
        (
            Change(
                _PEOPLE,
                "        entry = self._admissions.admitted(who, None)\n",
                "        entry = self._admissions.find(who) or self._admissions.admitted(who, None)\n",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "an open websocket ends with its session",
        (Change(_DOORS, "            if session.ended.is_set():\n", "            if False:\n"),),
        _DOORS_TEST,
    ),
    Defence(
        _STEALS,
        "a new password ends older sessions",
        (
            Change(
                _PEOPLE,
                "        if person.proof and _proof(self._stored(person.name)) != person.proof:\n",
                "        if False:\n",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _SCRIPT,
        "scripts run only with the nonce of the answer",
        (
            Change(
                _DOORS,
                "f\"'nonce-{nonce}' 'self' 'unsafe-eval'\" if nonce",
                "f\"'self' 'unsafe-inline' 'unsafe-eval'\" if nonce",
            ),
        ),
        _DOORS_TEST,
    ),
    Defence(
        _SCRIPT,
        "every answer has a nonce of its own",
        (Change(_DOORS, "nonce = secrets.token_urlsafe(18)", 'nonce = "always-the-same"'),),
        _DOORS_TEST,
    ),
    Defence(
        _SCRIPT,
        "names of a clip are escaped",
        (Change(_PICTURES, "<figcaption>{escape(camera.replace('_', ' '))}</", "<figcaption>{camera}</"),),
        _PICTURES_TEST,
    ),
    Defence(
        _SCRIPT,
        "ids of a task are escaped",
        (Change(_PICTURES, 'data-task="{escape(task_id)}"', 'data-task="{task_id}"'),),
        _PICTURES_TEST,
    ),
    Defence(
        _SCRIPT,
        "a picture has the type of its first bytes",
        (
            Change(
                _PICTURES,
                "    media_type = picture_type(frame.image)\n",
                "    media_type = frame.media_type\n",
            ),
        ),
        _PICTURES_TEST,
    ),
)
