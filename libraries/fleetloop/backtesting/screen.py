"""The result of a backtest on a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from fleetloop.backtesting.model import Result, Sample, TriggerResult
from fleetloop.kit.process.clock import ns_to_seconds, utc_second

_SHOWN = 3


def bytes_text(count: float) -> str:
    """Format a size with decimal units, for example `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def time_text(utc_ns: int) -> str:
    """Format a time in UTC, to the second."""
    return f"{utc_second(utc_ns):%Y-%m-%d %H:%M:%S}"


def result_table(result: Result) -> Table:
    """Build the table, one row per trigger. `unique` counts firings that no active trigger's clip would show."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("trigger", overflow="fold")
    for name in ("fired", "per vehicle\nand day", "per\nhour", "size of\nclips", "within\nbudget", "unique"):
        table.add_column(name, justify="right", no_wrap=True, min_width=max(7, *map(len, name.split("\n"))))
    for each in result.triggers:
        table.add_row(
            each.name,
            f"{each.firings:,}",
            f"{each.per_vehicle_day:,.2f}",
            f"{each.per_hour:,.2f}",
            bytes_text(each.bytes_wanted),
            bytes_text(each.bytes_within_budget),
            f"{each.unique:,}",
        )
    return table


def result_lines(result: Result) -> list[str]:
    """Describe what was replayed, and the firings of each trigger."""
    hours = max((each.driven_h for each in result.triggers), default=0.0)
    vehicles = len({day.vehicle for each in result.triggers for day in each.days})
    unreadable = f" {result.unreadable:,} batches could not be read." if result.unreadable else ""
    if result.damaged_files:
        unreadable += f" {result.damaged_files:,} files are damaged: firings may be missing."
    lines = [
        f"{result.frames:,} frames in {result.batches:,} batches, {hours:,.1f} h of {vehicles} vehicles, from "
        f"{result.archive}.{unreadable}",
        f"Clips have {bytes_text(result.cost.bytes_per_s)} per second, {result.cost.basis}.",
        f"Active triggers: {result.active}.",
    ]
    return [*lines, *(line for each in result.triggers for line in _details(each))]


def _details(each: TriggerResult) -> list[str]:
    if not each.firings:
        return []
    days = ", ".join(f"{day.vehicle} on {day.day} {day.firings}" for day in each.days[:_SHOWN] if day.firings)
    drives = ", ".join(f"{vehicle}/{boot[:8]} {count}" for vehicle, boot, count in each.drives[:_SHOWN])
    lines = [f"\n{each.name} v{each.version}", f"  most on  {days}", f"  drives   {drives}"]
    if each.conditions:
        lines.append("  because  " + ", ".join(f"{name} {count}" for name, count in each.conditions.items()))
    for overlap in each.overlaps[:_SHOWN]:
        share = overlap.firings / each.firings
        lines.append(f"  overlap  {share:.0%} would also be shown by {overlap.trigger} ({overlap.campaign})")
    return lines + [f"  clip     {sample_text(sample)}" for sample in each.samples[:_SHOWN]]


def sample_text(sample: Sample) -> str:
    """Format where a stored clip shows a firing."""
    into_s = ns_to_seconds(sample.fired.onset_utc_ns - sample.clip.start_utc_ns)
    return f"{sample.clip.address} at {into_s:.1f} s ({sample.fired.vehicle}, {time_text(sample.fired.onset_utc_ns)})"


def result_json(result: Result) -> dict[str, Any]:
    """Return everything, for programs. Times are UTC nanoseconds and sizes bytes."""
    document = asdict(result)
    for shown, each in zip(document["triggers"], result.triggers, strict=True):
        shown |= {"per_vehicle_day": each.per_vehicle_day, "per_hour": each.per_hour, "driven_h": each.driven_h}
    return document
