"""What the metric of the loop's stages has observed in this process."""

from __future__ import annotations

from prometheus_client import REGISTRY


def stage_seconds(service: str, stage: str) -> tuple[float, float]:
    """Samples that left a stage so far, and the sum of their seconds."""
    labels = {"service": service, "stage": stage}
    count = REGISTRY.get_sample_value("fleetloop_stage_seconds_count", labels) or 0.0
    return count, REGISTRY.get_sample_value("fleetloop_stage_seconds_sum", labels) or 0.0
