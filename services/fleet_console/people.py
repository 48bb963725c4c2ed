"""Who uses a page: the person in the sign-on proxy's header if one is set, else the name that they entered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from fleetloop.kit.security.identity import is_person_name

COOKIE = "fleetloop_name"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class NoNameError(Exception):
    """The proxy sent no name, or one that cannot be used; the text says what to do."""


def labeller(headers: Mapping[str, str], cookies: Mapping[str, str], user_header: str) -> str | None:
    """The name to label under; None when the page has to ask for it.

    Behind a proxy (`user_header` is set) only the proxy's header counts. Raises NoNameError when it is missing or
    unusable.
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
