"""The reports of a demo run: report.json for programs, report.html with a picture for people."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from fleetloop.demo.results import RARE, DemoResults, Turn
from fleetloop.demo.screen import lead_text, rate_text, recall_text

mpl.use("Agg")
_COLOURS = ("#9aa5b1", "#2f6f4f")


def write_reports(results: DemoResults, folder: Path) -> tuple[Path, Path, Path]:
    """Write report.json, staircase.png and report.html into `folder` and return their paths."""
    picture = staircase(results)
    paths = (folder / "report.json", folder / "staircase.png", folder / "report.html")
    paths[0].write_text(json.dumps(report(results), indent=1, sort_keys=True) + "\n")
    paths[1].write_bytes(picture)
    paths[2].write_text(page(results, picture))
    return paths


def report(results: DemoResults) -> dict[str, Any]:
    """Return the results in the form of report.json."""
    drive = results.recorded_drive
    return {
        "recorded_drive": {
            "source": drive.source,
            "frames_sent": drive.frames_sent,
            "frames_archived": drive.frames_archived,
            "frames_duplicated": drive.frames_duplicated,
            "firings": drive.firings,
        }
        if drive
        else None,
        "turns": [_turn(turn) for turn in results.turns],
        "first_model_recall": {name: value[0] for name, value in results.first_model.items()},
        "km": round(sum(driven.km for driven in results.drives), 3),
        "inferences": sum(driven.inferences for driven in results.drives),
        "simulated_rate": round(results.simulated_rate, 2),
        "wall_s": round(results.wall_s, 1),
        "cpu_s": {name: round(seconds, 1) for name, seconds in sorted(results.cpu_s.items())},
    }


def _turn(turn: Turn) -> dict[str, Any]:
    before, after = turn.before.per_100km(), turn.after.per_100km()
    lead = turn.lead_time
    return {
        "dataset_version": turn.dataset_version,
        "model_version": turn.model_version,
        "outcome": turn.outcome,
        "reasons": list(turn.reasons),
        "labels": dict(turn.labels_by_source),
        "mined": dict(turn.by_trigger),
        "refused": dict(turn.refused),
        "samples_added": turn.added,
        "rare_recall_before": turn.recall_before[RARE][0] if RARE in turn.recall_before else None,
        "rare_recall_after": turn.recall_after[RARE][0] if RARE in turn.recall_after else None,
        "recall_before": {name: value[0] for name, value in turn.recall_before.items()},
        "recall_after": {name: value[0] for name, value in turn.recall_after.items()},
        "interventions_per_100km_before": before[0],
        "interventions_per_100km_after": after[0],
        "interventions_per_100km_before_interval": before[1:],
        "interventions_per_100km_after_interval": after[1:],
        "km_before": turn.before.km,
        "km_after": turn.after.km,
        "vehicles_compared": turn.after.vehicles,
        "lead_time_s": {
            "label": lead.label,
            "dataset": lead.dataset,
            "model": lead.model,
            "last_vehicle": lead.last_vehicle,
        }
        if lead
        else None,
    }


def staircase(results: DemoResults) -> bytes:
    """Draw recall by slice on the frozen test set, and interventions per 100 km, by model. Returns a PNG."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = ["first model", *(turn.model_version or "rejected" for turn in results.turns)]
    steps = [results.first_model, *(turn.recall_after for turn in results.turns)]
    known = {name for step in steps for name in step} - {"all"}
    colours = mpl.colormaps["tab20"]
    for position, name in enumerate(sorted(known, key=lambda name: (name != RARE, name))):
        values = [step.get(name, (float("nan"),) * 3) for step in steps]
        bold = name == RARE
        left.plot(
            names,
            [v[0] for v in values],
            marker="o",
            color="black" if name == RARE else colours(position % 20),
            label=name,
            linewidth=3 if bold else 1.2,
            zorder=3 if bold else 2,
        )
        if bold:
            left.fill_between(names, [v[1] for v in values], [v[2] for v in values], alpha=0.12, color="black")
    left.set_ylim(-0.02, 1.02)
    left.set_ylabel("recall on the frozen test set")
    left.set_title("Recall by slice")
    figure.legend(fontsize=8, loc="outside right upper")
    rates = [results.turns[0].before, *(turn.after for turn in results.turns)] if results.turns else []
    figures = [rate.per_100km() for rate in rates]
    errors = [[v - low for v, low, _ in figures], [high - v for v, _, high in figures]]
    right.bar(names[: len(figures)], [v for v, _, _ in figures], yerr=errors, capsize=4, color=_COLOURS[1])
    right.set_ylabel("interventions per 100 km")
    right.set_title("Interventions on the same routes")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def page(results: DemoResults, picture: bytes) -> str:
    """Build report.html with the picture embedded."""
    drive = results.recorded_drive
    rows = [
        ("model", [turn.model_version for turn in results.turns]),
        ("outcome", [turn.outcome.replace("_", " ") for turn in results.turns]),
        ("why", ["; ".join(turn.reasons) for turn in results.turns]),
        ("dataset", [f"{t.dataset_version}: {t.added} new, {t.samples} in total" for t in results.turns]),
        ("mined", [", ".join(f"{k}: {v}" for k, v in t.by_trigger.items()) for t in results.turns]),
        ("labelled by", [", ".join(f"{k}: {v}" for k, v in t.labels_by_source.items()) for t in results.turns]),
        ("refused", [", ".join(f"{k}: {v}" for k, v in t.refused.items()) or "none" for t in results.turns]),
        ("interventions per 100 km before", [rate_text(turn.before) for turn in results.turns]),
        ("interventions per 100 km after", [rate_text(turn.after) for turn in results.turns]),
    ]
    rows += [
        (f"seconds from trigger to {stage.replace('_', ' ')}", [lead_text(turn, stage) for turn in results.turns])
        for stage in ("label", "dataset", "model", "last_vehicle")
    ]
    for name in sorted({name for turn in results.turns for name in turn.recall_after}):
        rows.append((f"recall, {name}", [recall_text(turn, name) for turn in results.turns]))
    heads = "".join(f"<th>turn {number}</th>" for number in range(1, len(results.turns) + 1))
    body = "".join(
        f"<tr><th>{html.escape(title)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        for title, cells in rows
    )
    cpu = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{seconds:.0f}</td></tr>"
        for name, seconds in sorted(results.cpu_s.items(), key=lambda item: -item[1])
    )
    recorded = (
        f"<p>Recorded drive ({html.escape(drive.source)}): {drive.frames_sent} frames sent, {drive.frames_archived} "
        f"archived, {drive.frames_duplicated} more than once; {drive.firings} triggers fired.</p>"
        if drive
        else ""
    )
    km, inferences = sum(d.km for d in results.drives), sum(d.inferences for d in results.drives)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>fleetloop demo</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }}
 table {{ border-collapse: collapse }} th, td {{ text-align: left; padding: .25rem .8rem;
 border-bottom: 1px solid #e4e7eb; vertical-align: top }} img {{ max-width: 100% }} th {{ font-weight: 600 }}
</style>
<h1>The loop turned {len(results.turns)} times</h1>
<p>{km:.0f} km driven by simulated vehicles, {inferences} inferences, {results.simulated_rate:.0f} simulated
vehicle-seconds per second; {results.wall_s:.0f} s in total.</p>
{recorded}
<img alt="staircase" src="data:image/png;base64,{base64.b64encode(picture).decode()}">
<h2>Turns</h2>
<table><tr><th></th>{heads}</tr>{body}</table>
<p>Intervals are 95 %: exact Poisson for rates, Wilson for shares. The drives before and after use the same routes
and seeds.</p>
<h2>CPU seconds</h2>
<table>{cpu}<tr><th>all</th><td>{sum(results.cpu_s.values()):.0f}</td></tr></table>
</html>
"""
