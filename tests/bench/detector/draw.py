"""Draws docs/results/triggers.png from .fleetloop/bench/results.json: python -m tests.bench.detector.draw"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

BARS = (
    ("bare consumer", "fps_bare_consumer", "#9aa5b1"),
    ("detector, 64 triggers", "fps_64", "#0b6e4f"),
    ("detector, 221 triggers", "fps_221", "#0b6e4f"),
    ("221, best on column batches", "fps_best_peer_columns", "#c05621"),
    ("221, bytewax per frame", "fps_bytewax", "#c05621"),
    ("221, quixstreams per frame", "fps_quixstreams", "#c05621"),
    ("221, Faust per frame", "fps_faust_per_frame", "#c05621"),
)


def main() -> None:
    figures = json.loads(Path(".fleetloop/bench/results.json").read_text())["detector"]
    figure, axes = plt.subplots(figsize=(8, 3.2))
    labels, rates = [b[0] for b in BARS], [figures[b[1]] for b in BARS]
    axes.barh(labels, rates, color=[b[2] for b in BARS])
    for row, rate in enumerate(rates):
        axes.text(rate * 1.05, row, f"{rate:,.0f}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(1e3, 6e6)
    axes.set_xlabel("frames per second, from topic to topic (logarithmic)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig("docs/results/triggers.png", dpi=110)


if __name__ == "__main__":
    main()
