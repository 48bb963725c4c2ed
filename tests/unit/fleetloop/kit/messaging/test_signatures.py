from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.embedded.event_keys import create_event_keys
from fleetloop.kit.messaging.dead_letters import retry_headers
from fleetloop.kit.messaging.events import Event, to_headers
from fleetloop.kit.messaging.records import Record, UnreadableMessageError
from fleetloop.kit.messaging.signatures import (
    NO_TRUST,
    SIGNATURE,
    EventSigner,
    EventTrust,
    load_signer,
    load_trust,
    signed_bytes,
)
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.process.settings import ServiceSettings, SettingsError
from fleetloop.shipped import topic_catalogue

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
TOPIC = "fleet.dataset.v1"
TRUST = EventTrust({TOPIC: [KEY.public_key()]})
EVENT = Event(TOPIC, "town", "id-1", "fleet.dataset.v1.DatasetCommitted", b"payload", 5)
PARTS = st.tuples(st.text(max_size=5), *(st.binary(max_size=5) for _ in range(4)))


def record_of(event: Event, signer: Ed25519PrivateKey | None = KEY) -> Record:
    headers = to_headers(event, "dataset-curator")
    if signer is not None:
        headers.append(EventSigner(signer).header(event))
    return Record(event.topic, 0, 7, event.key.encode(), event.payload, headers, 0)


def refused(record: Record) -> bool:
    try:
        TRUST.verify(record)
    except UnreadableMessageError as error:
        return str(error).startswith(f"{SIGNATURE}: ")
    return False


def test_an_event_of_the_owner_is_accepted_also_when_it_is_retried_from_the_dead_letters() -> None:
    record = record_of(EVENT)
    TRUST.verify(record)
    TRUST.verify(replace(record, headers=retry_headers(record.headers)))


def test_a_topic_that_is_not_signed_needs_no_signature() -> None:
    TRUST.verify(record_of(replace(EVENT, topic="fleet.clip.v1"), None))


@pytest.mark.parametrize("signer", [None, OTHER])
def test_an_unsigned_event_and_one_of_another_key_are_refused(signer: Ed25519PrivateKey | None) -> None:
    assert refused(record_of(EVENT, signer))


@pytest.mark.parametrize(
    "change",
    [
        {"value": b"other"},
        {"value": b""},
        {"key": b"other"},
        {"key": None},
    ],
)
def test_a_changed_message_is_refused(change: dict[str, object]) -> None:
    assert refused(replace(record_of(EVENT), **change))  # type: ignore[arg-type]


def test_a_signature_counts_only_for_its_topic_id_and_type() -> None:
    _, signature = EventSigner(KEY).header(EVENT)
    for event in (replace(EVENT, event_id="id-2"), replace(EVENT, event_type="fleet.training.v1.RunChanged")):
        record = record_of(event, None)
        assert refused(replace(record, headers=[*record.headers, (SIGNATURE, signature)]))
    both = EventTrust({TOPIC: [KEY.public_key()], "fleet.model.v1": [KEY.public_key()]})
    with pytest.raises(UnreadableMessageError):
        both.verify(replace(record_of(EVENT), topic="fleet.model.v1"))


def test_headers_that_readers_could_take_differently_are_refused() -> None:
    record = record_of(EVENT)
    for extra in (("ce_id", b"id-2"), (SIGNATURE, b"x"), ("ce_type", None)):
        assert refused(replace(record, headers=[*record.headers, extra]))
        assert refused(replace(record, headers=[extra, *record.headers]))


@given(PARTS, PARTS)
def test_different_events_never_have_the_same_signed_bytes(
    one: tuple[str, bytes, bytes, bytes, bytes], other: tuple[str, bytes, bytes, bytes, bytes]
) -> None:
    assert (signed_bytes(*one) == signed_bytes(*other)) == (one == other)


@given(st.binary(max_size=70), st.binary(max_size=20))
def test_no_invented_signature_is_accepted(signature: bytes, payload: bytes) -> None:
    record = record_of(replace(EVENT, payload=payload), None)
    assert refused(replace(record, headers=[*record.headers, (SIGNATURE, signature)]))


def test_owners_sign_with_their_own_keys_and_replaced_keys_stay_trusted(tmp_path: Path) -> None:
    topics = load_topics(topic_catalogue())
    keys = create_event_keys(tmp_path, topics)
    assert set(keys.keys) == {topic.owner for topic in topics.values() if topic.signed}
    base = {"kafka_bootstrap_servers": "none:1", "event_trust": keys.trust}

    def signed() -> Record:
        signer = load_signer(ServiceSettings(**base, event_key=keys.keys["dataset-curator"]))  # type: ignore[arg-type]
        assert signer is not None
        return replace(record_of(EVENT, None), headers=[*to_headers(EVENT, "x"), signer.header(EVENT)])

    before = signed()
    load_trust(ServiceSettings(**base)).verify(before)  # type: ignore[arg-type]
    keys.keys["dataset-curator"].unlink()
    create_event_keys(tmp_path, topics)
    trust = load_trust(ServiceSettings(**base))  # type: ignore[arg-type]
    after = signed()
    assert dict(after.headers)[SIGNATURE] != dict(before.headers)[SIGNATURE]
    for record in (before, after):
        trust.verify(record)
    with pytest.raises(UnreadableMessageError):  # the curator's key is not the orchestrator's
        trust.verify(replace(after, topic="fleet.training.v1"))


def test_where_there_are_certificates_the_trust_must_be_named(tmp_path: Path) -> None:
    assert load_trust(ServiceSettings(kafka_bootstrap_servers="none:1")) is NO_TRUST
    with pytest.raises(SettingsError, match="FLEETLOOP_EVENT_TRUST"):
        load_trust(ServiceSettings(kafka_bootstrap_servers="none:1", tls_ca=tmp_path / "ca.crt"))


@pytest.mark.parametrize("content", ["", "{}", "[]", "a: b", "a: [x]", "a: [AAAA]", "a: 3", "{"])
def test_a_wrong_trust_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trust.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"trust\.yaml"):
        load_trust(ServiceSettings(kafka_bootstrap_servers="none:1", event_trust=path))
