"""Every metric that dataset_curator adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WAITING = Gauge("fleetloop_dataset_samples_waiting", "Labelled samples that wait for the next commit.", ["dataset"])
COMMITS = Counter("fleetloop_dataset_commits_total", "Dataset versions committed.", ["dataset"])
REFUSED = Counter(
    "fleetloop_dataset_samples_refused_total",
    "Samples refused, by reason (exact_duplicate, near_duplicate, in_test_set, unreadable_clip).",
    ["dataset", "reason"],
)
