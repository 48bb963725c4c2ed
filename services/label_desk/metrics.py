"""Every metric that label_desk adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

OPEN_TASKS = Gauge("fleetloop_label_open_tasks", "Label tasks without an outcome, by project.", ["project"])
OLDEST_TASK_SECONDS = Gauge(
    "fleetloop_label_oldest_task_age_seconds",
    "Age of the oldest open label task in seconds, by project.",
    ["project"],
)
ENDED_TASKS = Counter(
    "fleetloop_label_ended_tasks_total",
    "Label tasks that ended, by outcome (agreed, cannot_tell, disputed) and by the source that decided.",
    ["project", "outcome", "source"],
)
VOTES = Counter(
    "fleetloop_label_votes_total",
    "Answers given to label tasks, by source (human, hindsight).",
    ["project", "source"],
)
AUDITS = Counter(
    "fleetloop_label_audited_answers_total",
    "Automatic answers that people checked, by source and by whether they agreed (agreed, differed).",
    ["project", "source", "result"],
)
SOURCE_DECIDES = Gauge(
    "fleetloop_label_source_decides",
    "1 while an automatic source may decide tasks, 0 while people agree with it too seldom.",
    ["source"],
)
CONTRADICTED_VEHICLES = Gauge(
    "fleetloop_label_contradicted_vehicles",
    "Vehicles whose moments people label, because they contradicted an automatic source about them too often.",
    ["source"],
)
HINDSIGHT_UNSURE = Counter(
    "fleetloop_label_unsure_hindsight_total",
    "Label tasks that hindsight left to people, because the clip did not show the answer or could not be read.",
    ["project"],
)
