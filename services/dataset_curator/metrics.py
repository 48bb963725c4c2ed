"""Every metric that dataset_curator adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WAITING = Gauge("fleetloop_dataset_waiting_samples", "Labelled samples that wait for the next commit.", ["dataset"])
HELD = Gauge(
    "fleetloop_dataset_held_samples",
    "Labelled samples that wait until other vehicles have caught up, because theirs has its share of the dataset.",
    ["dataset"],
)
UNREADABLE_TABLES = Counter(
    "fleetloop_dataset_unreadable_tables_total",
    "Commits that were put off because the dataset's table, or that of a test set, could not be read.",
    ["dataset"],
)
COMMITS = Counter("fleetloop_dataset_commits_total", "Dataset versions that were committed.", ["dataset"])
REFUSED = Counter(
    "fleetloop_dataset_refused_samples_total",
    "Samples that were refused, by reason "
    "(exact_duplicate, near_duplicate, in_test_set, unreadable_clip, retracted).",
    ["dataset", "reason"],
)
RETRACTED = Counter(
    "fleetloop_dataset_retracted_samples_total", "Samples that retractions removed from a dataset.", ["dataset"]
)
