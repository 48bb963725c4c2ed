"""Who sits in front of a page: named by the sign-on proxy's header where one is set, else by the name they gave."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from fleetloop.kit.security.identity import is_person_name

COOKIE = "fleetloop_name"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class NoNameError(Exception):
    """The proxy named nobody, or somebody whose name cannot be used; the text says what to do."""


def labeller(headers: Mapping[str, str], cookies: Mapping[str, str], user_header: str) -> str | None:
    """The name to label under; None when the page has to ask for it.

    Behind a proxy (`user_header` set) only the proxy's word counts: NoNameError when it is missing or unusable.
    """
    if not user_header:
        given = unquote(cookies.get(COOKIE, ""))
        return given if is_person_name(given) else None
    said = headers.get(user_header, "").strip()
    if not said:
        raise NoNameError(f"The sign-on proxy sent no {user_header}. Open this page through it.")
    name = cleaned(said)
    if not is_person_name(name):
        raise NoNameError(f"{user_header} says {said!r}, which cannot be made into a labeller's name.")
    return name


def cleaned(said: str) -> str:
    """An e-mail address or a login as a name: ann@example.org becomes ann-at-example.org."""
    return _NOT_IN_NAMES.sub("_", said.strip().replace("@", "-at-"))
