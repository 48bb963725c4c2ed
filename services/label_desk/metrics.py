"""Every metric that label_desk adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

# Tasks that wait for an answer, by project.
OPEN_TASKS = Gauge("fleetloop_label_tasks_open", "Label tasks that wait.", ["project"])
# Age of the oldest of them.
OLDEST_TASK_SECONDS = Gauge("fleetloop_label_task_oldest_seconds", "Age of the oldest open label task.", ["project"])
# Tasks that ended, by how and by whom.
ENDED_TASKS = Counter(
    "fleetloop_label_tasks_ended_total", "Label tasks that ended.", ["project", "outcome", "source"]
)
# Answers given, by source.
VOTES = Counter("fleetloop_label_votes_total", "Answers given to label tasks.", ["project", "source"])
# Clips in which hindsight looked and could not tell.
HINDSIGHT_UNSURE = Counter(
    "fleetloop_label_hindsight_unsure_total", "Tasks that hindsight left to people.", ["project"]
)
