"""What one more report costs the monitor for a vehicle that drove around the clock, old windows added up or not.

    python -m tests.bench.monitor_record [--days 30]

The record of a vehicle is written whole at every report. Prints one JSON line: windows, bytes of the changelog
record, and milliseconds to add a report and encode (median of 20).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from fleet_monitor.codec import to_bytes
from fleet_monitor.core import DAY_S, add, window_start
from fleet_monitor.model import Report, SumKey, Sums, VehicleRecord

S = 10**9
WINDOW_S = 600


def report(number: int) -> Report:
    """One of each minute."""
    start_ns = number * 60 * S
    where = SumKey("m" * 64, "", "r" * 32, 3, window_start(start_ns, WINDOW_S))
    sums = Sums(0.1 + number % 7 * 0.013, number % 50 == 0, inferences=120, inference_p99_ms_max=2.0, reports=1)
    return Report("b" * 32, number, where, sums, start_ns + 60 * S, start_ns + 60 * S)


def measure(days: int, fine_s: float) -> dict[str, float]:
    """A report more, after so many days."""
    record, keep_s = VehicleRecord(), days * DAY_S
    minutes = days * 1440
    for number in range(0, minutes, WINDOW_S // 60):
        record = add(record, report(number), keep_s, fine_s)
    took = []
    for number in range(minutes, minutes + 20):
        began = time.perf_counter()
        record = add(record, report(number), keep_s, fine_s)
        raw = to_bytes(record)
        took.append(1000 * (time.perf_counter() - began))
    return {"windows": len(record.windows), "bytes": len(raw), "ms": round(statistics.median(took), 3)}


def main(days: int) -> None:
    """Both in one run."""
    whole, by_days = measure(days, days * DAY_S), measure(days, DAY_S)
    ratios = {name: round(whole[name] / by_days[name], 1) for name in whole}
    print(json.dumps({"days": days, "narrow_windows": whole, "added_up_by_days": by_days, "ratio": ratios}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    main(parser.parse_args().days)
