"""The staircase: recall on every slice of the frozen test set, model after model, as a picture and as figures."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from fleet_console.core import RARE
from fleet_console.model import Staircase
from fleet_console.pages.frame import heading
from fleet_console.wording import words

_MUTED = "getComputedStyle(document.documentElement).getPropertyValue('--muted')"
_LINE = "getComputedStyle(document.documentElement).getPropertyValue('--line')"
_INK = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a6d3b", "#7a5cc0")
_NIGHT, _ALL = "night_", "all"


class StaircasePanel:
    """A panel of its own; empty until a model was examined."""

    def __init__(self) -> None:
        self._shown: Staircase | None = None
        with ui.element("section").classes("panel"):
            heading("The staircase")
            self._note = ui.label("No model has been examined yet.").classes("quiet")
            self._chart = ui.echart({}, renderer="svg").classes("staircase")
            self._chart.set_visibility(False)

    def update(self, staircase: Staircase) -> None:
        """Redraws when a model was added."""
        if staircase == self._shown or not staircase.models:
            return
        self._shown = staircase
        rare = staircase.slices.get(RARE, ())
        newest = rare[-1] if rare else None
        said = f"Rare slices together: {newest[0]:.0%} ({newest[1]:.0%} to {newest[2]:.0%})." if newest else ""
        self._note.set_text(f"Scenes of the frozen test set on which the car would do the right thing. {said}")
        self._chart.set_visibility(True)
        self._chart.options.clear()
        self._chart.options.update(options(staircase))
        self._chart.update()


def options(staircase: Staircase) -> dict[str, Any]:
    """ECharts options; colours of text come from the page's style, so that they follow light and dark."""
    series = []
    kinds = sorted({name.removeprefix(_NIGHT) for name in staircase.slices if name not in (RARE, _ALL)})
    for name, values in staircase.slices.items():
        if name == _ALL:
            continue
        rare = name == RARE
        colour = "" if rare else _COLOURS[kinds.index(name.removeprefix(_NIGHT)) % len(_COLOURS)]
        style = {":color": _INK} if rare else {"color": colour}
        series.append(
            {
                "name": "all rare slices" if rare else words(name),
                "type": "line",
                "data": [None if value is None else round(100 * value[0], 1) for value in values],
                "lineStyle": {
                    "width": 4 if rare else 1.6,
                    "type": "dashed" if name.startswith(_NIGHT) else "solid",
                    **style,
                },
                "itemStyle": style,
                "symbol": "circle",
                "symbolSize": 9 if rare else 6,
                "z": 5 if rare else 2,
            }
        )
    text = {":color": _MUTED, "fontSize": 12, "lineHeight": 17}
    return {
        "animation": False,
        "aria": {"enabled": True},
        "textStyle": {"fontFamily": "system-ui, DejaVu Sans, sans-serif"},
        "grid": {"left": 8, "right": 150, "top": 14, "bottom": 8, "containLabel": True},
        "legend": {"type": "scroll", "orient": "vertical", "right": 0, "top": 4, "itemGap": 3, "itemWidth": 28,
                   "textStyle": text},
        "tooltip": {"trigger": "axis", ":valueFormatter": "value => value == null ? 'not measured' : value + ' %'"},
        "xAxis": {"type": "category", "data": list(staircase.models), "axisLabel": text,
                  "axisTick": {"show": False}},
        "yAxis": {
            "type": "value", "min": 0, "max": 100, "axisLabel": {**text, "formatter": "{value} %"},
            "splitLine": {"lineStyle": {":color": _LINE}},
        },
        "series": series,
    }  # fmt: skip
