"""Random expressions and random, irregular, repeated and late telemetry for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import parse_catalogue

CATALOGUE = parse_catalogue("""
signals:
  A: {type: float32, max_age_s: 1}
  B: {type: float32, nan_allowed: true, max_age_s: 0.3}
  F: {type: bool, max_age_s: 0.5}
  E: {type: enum, values: [red, green, blue], max_age_s: 2}
  T.Id: {type: int64, ragged: true, max_age_s: 0.4}
  T.Score: {type: float32, ragged: true, max_age_s: 0.6}
  T.Kind: {type: enum, values: [car, sign], ragged: true, max_age_s: 1}
""")
TICK_NS = 50_000_000
SPANS = st.sampled_from(["0.05 s", "0.1 s", "150 ms", "0.3 s", "0.5 s", "1 s", "1.7 s"])
CONSTANTS = st.sampled_from(["0.37", "1.37", "-1.63", "2.37"])


def numbers(leaves: list[str]) -> st.SearchStrategy[str]:
    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pair = st.tuples(inner, inner)
        return st.one_of(
            st.tuples(pair, st.sampled_from("+-*")).map(lambda x: f"({x[0][0]} {x[1]} {x[0][1]})"),
            st.tuples(inner, st.sampled_from(["A", "B"])).map(lambda x: f"(abs({x[0]}) / {x[1]})"),
            pair.map(lambda x: f"lower_of({x[0]}, {x[1]})"),
            st.tuples(st.sampled_from(["min", "max", "first", "lag", "delta"]), inner, SPANS).map(
                lambda x: f"{x[0]}({x[1]}, {x[2]})"
            ),
            inner.map(lambda x: f"-{x}"),
        )

    return st.recursive(st.sampled_from(leaves), grow, max_leaves=4)


def conditions(leaves: list[str], atoms: list[str]) -> st.SearchStrategy[str]:
    number = numbers(leaves)
    compared = st.tuples(number, st.sampled_from(["<", "<=", ">", ">="]), st.one_of(number, CONSTANTS))
    smooth = st.tuples(st.sampled_from(["mean", "slope"]), number, SPANS, st.sampled_from("<>"), CONSTANTS)
    first = st.one_of(
        st.sampled_from(atoms),
        compared.map(lambda x: f"{x[0]} {x[1]} {x[2]}"),
        smooth.map(lambda x: f"{x[0]}({x[1]}, {x[2]}) {x[3]} {x[4]}{'' if x[0] == 'mean' else ' Hz'}"),
        number.map(lambda x: f"exists({x})"),
    )

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
            inner.map(lambda x: f"not ({x})"),
            st.tuples(st.sampled_from(["any", "all", "debounce", "lag"]), inner, SPANS).map(
                lambda x: f"{x[0]}({x[1]}, {x[2]})"
            ),
            st.tuples(inner, SPANS).map(lambda x: f"count({x[0]}, {x[1]}) > 1.5"),
        )

    return st.recursive(first, grow, max_leaves=4)


TRACKED = conditions(["Score", "Score", "A"], ['Kind == "sign"', "Score > 1.37", "excursion(Score, 0.5 s) > 1.37"])
OUTER = ["F", 'E == "green"', 'E != "red"', "A > B", "excursion(A, 1 s) > 0.37", "last(B, 1 s) < 0.37"]
EXPRESSIONS = st.one_of(
    conditions(["A", "B", "last(B, 0.5 s)"], OUTER),
    st.tuples(TRACKED, conditions(["A", "B"], OUTER)).map(
        lambda x: f"any_track(T, Score > 0.37 or {x[0]}) or {x[1]}"
    ),
    TRACKED.map(lambda x: f"any_track(T, Score > 2.37 or ({x}))"),
    st.tuples(TRACKED, SPANS).map(lambda x: f'max(count_tracks(T, Kind == "car" and {x[0]}), {x[1]}) > 0.37'),
)


def random_log(seed: int, vehicles: int = 2, batches: int = 14) -> list[tuple[FrameBatch, int]]:
    """Batches with the broker's append ms: gaps, repeats, late ones, silent ones, columns that come and go."""
    rng = np.random.default_rng(seed)
    now_ms = 1_000_000
    clocks = rng.integers(0, 200, vehicles)
    sequences = [0] * vehicles
    log: list[tuple[FrameBatch, int]] = []
    for _ in range(batches):
        now_ms += int(rng.choice([0, 0, 40, 300, 700, 2500, 6000], p=[0.3, 0.2, 0.15, 0.15, 0.1, 0.06, 0.04]))
        vehicle = int(rng.integers(vehicles))
        if log and rng.random() < 0.08:
            log.append((log[int(rng.integers(len(log)))][0], now_ms))
            continue
        start = int(clocks[vehicle]) + int(rng.choice([1, 1, 2, 7, 40], p=[0.5, 0.2, 0.2, 0.05, 0.05]))
        if rng.random() < 0.12:
            start = max(0, start - int(rng.integers(1, 60)))
        batch = _batch(rng, f"v{vehicle}", sequences[vehicle], start * TICK_NS)
        sequences[vehicle] += 1
        clocks[vehicle] = max(int(clocks[vehicle]), start + 14)
        log.append((batch, now_ms))
    return log


def _batch(rng: np.random.Generator, vehicle: str, sequence: int, start_ns: int) -> FrameBatch:
    frames = int(rng.integers(1, 8))
    offsets = np.sort(rng.integers(0, 14, frames)) * TICK_NS
    columns: dict[str, Column] = {}
    for path in ("A", "B", "F", "E"):
        if rng.random() < 0.15:
            continue
        own = None
        rows = frames
        if rng.random() < 0.4:
            rows = int(rng.integers(0, 9))
            own = np.sort(rng.integers(0, 14, rows)).astype(np.int64) * TICK_NS
        columns[path] = _values(rng, path, rows, own)
    if rng.random() < 0.85:
        columns.update(_tracks(rng, frames))
    return FrameBatch("f", vehicle, b"boot 001", sequence, start_ns, 10**18 + start_ns, "gnss", offsets, columns)


def _values(rng: np.random.Generator, path: str, rows: int, own: np.ndarray | None) -> Column:
    if path == "F":
        return Column(rng.random(rows) < 0.5, own)
    if path == "E":
        return Column(rng.integers(0, 3, rows).astype(np.uint8), own, dictionary=("red", "green", "blue"))
    values = (rng.integers(-8, 12, rows) / 4).astype(np.float32)
    if path == "B":
        values[rng.random(rows) < 0.3] = np.nan
    return Column(values, own)


def _tracks(rng: np.random.Generator, frames: int) -> dict[str, Column]:
    own = None
    if rng.random() < 0.5:
        frames = int(rng.integers(0, 6))
        own = np.sort(rng.integers(0, 14, frames)).astype(np.int64) * TICK_NS
    splits = np.append(0, np.cumsum(rng.integers(0, 4, frames))).astype(np.uint32)
    total = int(splits[-1])
    scores = (rng.integers(0, 12, total) / 4).astype(np.float32)
    kinds = rng.integers(0, 2, total).astype(np.uint8)
    return {
        "T.Id": Column(rng.integers(1, 4, total).astype(np.int64), own, splits),
        "T.Score": Column(scores, own, splits),
        "T.Kind": Column(kinds, own, splits, ("car", "sign")),
    }
