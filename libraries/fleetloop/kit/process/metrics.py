"""The metrics of every service. The `metrics.py` of a service has those that only it exports.

Names follow the conventions of Prometheus: base units, and `_total` for counters. The help text of a metric is its
documentation. Each process exports its own metrics, so the default registry is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram

from fleetloop.kit.process.clock import ns_to_seconds

_AGES_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
LOOP_BUCKETS_S = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400, 259200, 604800, 2592000)
"""Bounds for the stages of the loop and for its lead time: from 0.1 s to 30 days."""


class LoopStage(StrEnum):
    """The stages of the loop that a sample passes, in this order. `STAGE_SECONDS` says where each ends."""

    CLIP = "clip"
    LABEL = "label"
    DATASET = "dataset"
    TRAIN = "train"
    ROLLOUT = "rollout"


class DeadLetterReason(StrEnum):
    """Why a message is in a dead-letter queue."""

    UNREADABLE = "unreadable"
    """Its bytes or fields break the rules for this topic; no retry helps."""
    TOO_LARGE = "too_large"
    """What follows from it is larger than the topic allows."""
    FAILED = "failed"
    """Processing it failed twice, with an error that is no outage: probably a bug. Retry it after the fix."""


CONSUMER_LAG = Gauge(
    "fleetloop_consumer_lag_messages",
    "Messages between the end of a partition and what this service has made durable, including those in hand.",
    ["service", "topic", "partition"],
)
LAST_COMMIT = Gauge(
    "fleetloop_consumer_last_commit_timestamp_seconds",
    "Unix time of the last successful commit of offsets; before the first one, of the start of the process.",
    ["service"],
)
EVENT_AGE = Histogram(
    "fleetloop_event_age_seconds",
    "Age of events when they are read, by CloudEvents time or else by timestamp in Kafka; the first and the "
    "last event of each poll of a partition are observed.",
    ["service", "topic"],
    buckets=_AGES_S,
)
MESSAGES = Counter(
    "fleetloop_messages_total",
    "Messages that were read, by outcome: handled, repeat (handled before), dead (sent to the dead-letter queue) or "
    "skipped.",
    ["service", "topic", "outcome"],
)
DEAD_LETTERS = Counter(
    "fleetloop_dead_letters_total",
    "Messages that could not be processed and were sent to the dead-letter queue of their topic, by reason: "
    "unreadable (it breaks the rules for the topic), too_large (what follows from it is larger than a topic allows) "
    "or failed (processing it failed twice).",
    ["service", "topic", "reason"],
)
UNDECODABLE = Counter(
    "fleetloop_undecodable_messages_total",
    "Messages that Kafka's client could not decode and that were passed over; their offsets are in the log.",
)
PRODUCED = Counter(
    "fleetloop_produced_messages_total", "Messages that Kafka has acknowledged to this service.", ["service", "topic"]
)
STAGE_SECONDS = Histogram(
    "fleetloop_stage_seconds",
    "Time that one sample spent in a stage of the loop, observed when the sample leaves the stage. Each stage begins "
    "where the one before ends, so the five stages of a sample add up to its fleetloop_loop_lead_seconds: clip (from "
    "the detection until its clip is stored and routed), label (until its label task is decided), dataset (until a "
    "version is committed with it), train (until a model trained on it passes its examination) and rollout (until "
    "the last vehicle attests a released model trained on it; a rollout that is rolled back does not end the stage).",
    ["service", "stage"],
    buckets=LOOP_BUCKETS_S,
)
OUTBOX_ROWS = Gauge(
    "fleetloop_outbox_rows", "Events in the outbox that have not been published to Kafka yet.", ["service"]
)
PRUNED_ROWS = Counter(
    "fleetloop_pruned_rows_total", "Rows that were pruned after their retention, by kind.", ["service", "kind"]
)
RPCS = Counter(
    "fleetloop_rpcs_total", "RPCs that have ended, by method and gRPC status code.", ["service", "method", "code"]
)
RPC_SECONDS = Histogram(
    "fleetloop_rpc_seconds", "Duration of RPCs; of a stream, the time that it was open.", ["service", "method"]
)


def observe_stage(service: str, stage: LoopStage, began_at_utc_ns: int, ended_at_utc_ns: int) -> None:
    """Observes that one sample left a stage.

    The two times may come from clocks of two machines; a stage that appears to end before it began counts as 0 s. A
    stage whose beginning is unknown (0) is not observed.
    """
    if not began_at_utc_ns:
        return
    STAGE_SECONDS.labels(service, stage.value).observe(max(0.0, ns_to_seconds(ended_at_utc_ns - began_at_utc_ns)))


def create_alerted_counters(service: str, *, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
    """Creates the counters that alerts read (charts/fleetloop/alerts.yaml) at 0, for the topics of one client.

    Prometheus computes an increase or a rate from two samples. Without a sample at 0 the first dead-letter message
    would raise no alert, and a gateway that has stored nothing since its start would look like one that does not
    exist.
    """
    for topic in reads:
        for reason in DeadLetterReason:
            DEAD_LETTERS.labels(service, topic, reason.value)
    for topic in writes:
        PRODUCED.labels(service, topic)
