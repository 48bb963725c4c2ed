"""The metrics that every service has. A service's own stand in its `metrics.py`.

Names follow Prometheus: base units, `_total` for counters. One process a pod, so the plain registry serves.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_AGES_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

# Messages between the end of a partition and what this service has committed.
CONSUMER_LAG = Gauge(
    "fleetloop_consumer_lag_messages", "Messages not yet committed.", ["service", "topic", "partition"]
)
# Wall clock of the last commit; alerts compare it with time().
LAST_COMMIT = Gauge(
    "fleetloop_consumer_last_commit_timestamp_seconds", "When offsets were last committed.", ["service"]
)
# Age of an event when it was handled, from its CloudEvents time.
EVENT_AGE = Histogram(
    "fleetloop_event_age_seconds", "Age of events when handled.", ["service", "topic"], buckets=_AGES_S
)
# Messages by what became of them: handled, repeat (known id), dead (to the DLQ), skipped.
MESSAGES = Counter("fleetloop_messages_total", "Messages read, by outcome.", ["service", "topic", "outcome"])
# Messages put into a dead-letter topic.
DEAD_LETTERS = Counter("fleetloop_dead_letters_total", "Messages that could not be processed.", ["service", "topic"])
# Messages that Kafka acknowledged to this service.
PRODUCED = Counter("fleetloop_produced_messages_total", "Messages acknowledged by Kafka.", ["service", "topic"])
# Seconds that a sample spent in this stage of the loop: the stage's share of the lead time.
STAGE_SECONDS = Histogram(
    "fleetloop_stage_seconds",
    "Time that one sample spent in a stage.",
    ["service", "stage"],
    buckets=(0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
)
# Rows of the outbox that wait for the relay.
OUTBOX_ROWS = Gauge("fleetloop_outbox_rows", "Events waiting to be published.", ["service"])
# Rows that were let go because nobody needs them any more, by kind.
PRUNED_ROWS = Counter("fleetloop_pruned_rows_total", "Rows let go after their retention.", ["service", "kind"])
# RPCs by method and gRPC status.
RPCS = Counter("fleetloop_rpcs_total", "RPCs served, by status.", ["service", "method", "code"])
# Seconds that an RPC took; streams count from open to close.
RPC_SECONDS = Histogram("fleetloop_rpc_seconds", "Time that RPCs took.", ["service", "method"])


def create_alerted_counters(service: str, *, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
    """Creates the counters that alerts read (charts/fleetloop/alerts.yaml) at 0, for the topics of one client.

    Prometheus computes an increase or a rate from two samples: without a sample at 0 the first dead letter would
    raise no alert, and a gateway that stores nothing from its start on would look like one that does not exist.
    """
    for topic in reads:
        DEAD_LETTERS.labels(service, topic)
    for topic in writes:
        PRODUCED.labels(service, topic)
