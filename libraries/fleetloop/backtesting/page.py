"""The result of a backtest as one HTML page, with pictures of some firings."""

from __future__ import annotations

import base64
import html

from fleetloop.backtesting.model import Result, Sample, TriggerResult
from fleetloop.backtesting.screen import bytes_text, time_text
from fleetloop.domain.clips import ClipError, read_drive
from fleetloop.kit.storage.objects import ObjectMissingError, Objects

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse}th,td{text-align:right;padding:.3rem .7rem;border-bottom:1px solid #dde2e8}
th:first-child,td:first-child{text-align:left}h2{margin-top:2.5rem}p.quiet{color:#5a6675}
figure{margin:1rem 0}figure img{width:128px;image-rendering:pixelated;margin-right:4px}figcaption{color:#5a6675}
"""


def page(result: Result, objects: Objects) -> str:
    """Build the page. A clip that cannot be read is listed without pictures."""
    rows = "".join(_row(each) for each in result.triggers)
    sections = "".join(_section(each, objects) for each in result.triggers if each.firings)
    cost = f"{bytes_text(result.cost.bytes_per_s)} per second, {result.cost.basis}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Backtest</title><style>{_STYLE}</style>'
        f"<h1>Backtest</h1><p>{result.frames:,} frames in {result.batches:,} batches of the fleet "
        f"{html.escape(result.fleet_id)}. Clips have {html.escape(cost)}. "
        f"Active: {html.escape(result.active)}.</p>"
        "<table><tr><th>Trigger<th>Fired<th>Per vehicle and day<th>Per hour<th>Size of clips<th>Within budget"
        f"<th>Unique</tr>{rows}</table>{sections}</html>"
    )


def _row(each: TriggerResult) -> str:
    cells = (
        f"{html.escape(each.name)} v{each.version}",
        f"{each.firings:,}",
        f"{each.per_vehicle_day:,.2f}",
        f"{each.per_hour:,.2f}",
        bytes_text(each.bytes_wanted),
        bytes_text(each.bytes_within_budget),
        f"{each.unique:,}",
    )
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"


def _section(each: TriggerResult, objects: Objects) -> str:
    overlaps = "".join(
        f"<li>{overlap.firings / each.firings:.0%} would also be shown by {html.escape(overlap.trigger)}"
        for overlap in each.overlaps
    )
    figures = "".join(_figure(sample, objects) for sample in each.samples)
    none = "" if figures else '<p class="quiet">No stored clip shows one of its firings.</p>'
    return f"<h2>{html.escape(each.name)}</h2><ul>{overlaps}</ul>{figures}{none}"


def _figure(sample: Sample, objects: Objects) -> str:
    caption = html.escape(
        f"{sample.fired.vehicle}, {time_text(sample.fired.onset_utc_ns)} UTC, {', '.join(sample.fired.conditions)}, "
        f"{sample.clip.address}"
    )
    try:
        pictures = _pictures(sample, objects)
    except (ClipError, ObjectMissingError) as error:
        return f"<figure><figcaption>{caption}: {html.escape(str(error))}</figcaption></figure>"
    images = "".join(
        f'<img alt="{html.escape(camera)}" title="{html.escape(camera)}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for camera, png in pictures
    )
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _pictures(sample: Sample, objects: Objects) -> list[tuple[str, bytes]]:
    """Return each camera's newest picture at the time of the firing, or its first one."""
    drive = read_drive(objects.get(sample.clip.address))
    moment_ns = drive.info.start_monotonic_ns + sample.fired.onset_utc_ns - drive.info.start_utc_ns
    pictures = []
    for camera in drive.cameras:
        images = drive.images(camera)
        newest = [image for image in images if image.time_ns <= moment_ns]
        if images:
            pictures.append((camera, (newest[-1] if newest else images[0]).png))
    return pictures
