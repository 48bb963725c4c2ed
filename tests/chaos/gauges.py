"""What the services' own metrics say: how far consumers are behind, and how old events are when they are read."""

from __future__ import annotations

import http.client
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families
from tests.chaos.findings import Fault, Finding
from tests.chaos.system import PACKAGES, System

OLDEST_S = 30.0
"""No event may be older than this when it is read, once everything has recovered."""
_TIMEOUT_S = 3.0
Key = tuple[str, str]
"""(service, topic)."""


def lag_of(texts: Iterable[str]) -> Counter[Key]:
    """Messages that each consumer has not made durable yet, from the text of metrics."""
    behind: Counter[Key] = Counter()
    for text in texts:
        for family in text_string_to_metric_families(text):
            if family.name == "fleetloop_consumer_lag_messages":
                for sample in family.samples:
                    behind[sample.labels["service"], sample.labels["topic"]] += int(sample.value)
    return behind


def old_events_of(texts: Iterable[str]) -> Counter[Key]:
    """How many events were older than `OLDEST_S` when they were read, since the processes started."""
    old: Counter[Key] = Counter()
    for text in texts:
        for family in text_string_to_metric_families(text):
            if family.name == "fleetloop_event_age_seconds":
                for sample in family.samples:
                    key = (sample.labels["service"], sample.labels["topic"])
                    if sample.name.endswith("_count"):
                        old[key] += int(sample.value)
                    elif sample.name.endswith("_bucket") and float(sample.labels["le"]) == OLDEST_S:
                        old[key] -= int(sample.value)
    return old


def scrape(system: System) -> dict[str, str]:
    """The text of every service's metrics; a service that does not answer is left out."""
    texts = {}
    for package in PACKAGES:
        try:
            with urllib.request.urlopen(
                f"http://{system.address(package, 'http')}/metrics", timeout=_TIMEOUT_S
            ) as page:
                texts[package] = page.read().decode()
        except (OSError, http.client.HTTPException):
            continue
    return texts


def check_lag(texts: Mapping[str, str]) -> list[Finding]:
    """A consumer that has something left to do, or whose metrics could not be read, is stuck."""
    findings = [Finding("metrics", Fault.STUCK, each, "no answer") for each in PACKAGES if each not in texts]
    behind = lag_of(texts.values())
    findings += [
        Finding("lag", Fault.STUCK, f"{service} {topic}", f"{messages} messages")
        for (service, topic), messages in behind.items()
        if messages
    ]
    return sorted(findings)


class Ages:
    """Counts the old events that services read from one scrape to the next, also when a process is restarted."""

    def __init__(self) -> None:
        self._known: Counter[Key] = Counter()

    def note(self, texts: Mapping[str, str]) -> Counter[Key]:
        """How many old events were read since the last call. A service that did not answer keeps its number."""
        now = old_events_of(texts.values())
        # A counter that fell belongs to a new process, whose number is all that it has read.
        new = Counter(
            {key: count - known if count >= (known := self._known[key]) else count for key, count in now.items()}
        )
        for key, count in now.items():
            self._known[key] = count
        return +new


def findings_of(old: Counter[Key], when: str) -> list[Finding]:
    """Each service that has read an old event at a time at which there must be none."""
    return sorted(
        Finding("age", Fault.STUCK, f"{service} {topic}", f"{count} events over {OLDEST_S:g} s {when}")
        for (service, topic), count in old.items()
    )
