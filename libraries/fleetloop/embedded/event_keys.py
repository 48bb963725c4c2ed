"""Keys with which the owners of signed topics sign their events, and the file with which readers verify them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fleetloop.kit.messaging.signatures import public_text
from fleetloop.kit.messaging.topics import Topic
from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.security.signing import make_key, private_key

TRUST_FILE = "event-trust.yaml"
_HEADER = "# The public keys that may have signed the events of each topic. The newest key is the last one.\n"


@dataclass(frozen=True, slots=True)
class EventKeys:
    """The files below one folder."""

    keys: Mapping[str, Path]
    """Private key of each owner of a signed topic."""
    trust: Path


def create_event_keys(folder: Path, topics: Mapping[str, Topic]) -> EventKeys:
    """Create the keys that are missing, and trust them. Idempotent.

    Keys that the trust file has stay trusted, because topics keep events that they signed. To replace a key, remove
    its file and call this again; remove its line from the trust file once no topic has its events.
    """
    signed = [topic for topic in topics.values() if topic.signed]
    keys = {topic.owner: folder / f"{topic.owner}.pem" for topic in signed}
    current: dict[str, str] = {}
    for owner, path in keys.items():
        make_key(path)
        current[owner] = public_text(private_key(path))
    trust = folder / TRUST_FILE
    known = yaml.safe_load(trust.read_text()) if trust.exists() else {}
    listed = {
        topic.name: [*(key for key in known.get(topic.name, []) if key != current[topic.owner]), current[topic.owner]]
        for topic in signed
    }
    if listed != known:
        replace_text(trust, _HEADER + yaml.safe_dump(listed), sync=True)
    return EventKeys(keys, trust)
