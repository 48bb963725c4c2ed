"""What the desk's work costs when it has seen many tasks: it should depend on what is open, not on what has been.

    python -m tests.bench.desk_scale [--ended 99000] [--open 1000]

A SQLite file with so many ended tasks (two votes each) and so many open ones, the most urgent half of which others
hold. Prints one JSON line: milliseconds of one look of each kind (median of 20), with few ended tasks and with many,
and the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from label_desk import queries, store, transactions

MOST = 10
NOW_NS = 1_700_000_000_000_000_000
MIGRATIONS = Path(transactions.__file__).parent / "migrations"
FEW = 1_000


def fill(database: Database, ended: int, opened: int) -> None:
    """Rows as the desk leaves them."""

    def task(number: int, outcome: str) -> dict[str, object]:
        created = label_pb2.LabelTaskCreated(
            task_id=f"t{number}", project="stop-signs", dataset="town", task="stop_sign", agreement=2,
            provenance=provenance_pb2.Provenance(sample_id=f"s{number}", vehicle_id="car", clip_id="c" * 64),
            sources=[label_pb2.LABEL_SOURCE_HUMAN], clip_address=f"demo/clips/2026-01-01/{number:064d}.mcap",
        )  # fmt: skip
        return {
            "task_id": created.task_id, "project": created.project, "task": created.task,
            "agreement": 2, "created_at_utc_ns": NOW_NS - number, "created": created.SerializeToString(),
            "traceparent": None, "wants_hindsight": False, "wants_people": True, "outcome": outcome,
            "decided_by": "human" if outcome else "", "settles_at_utc_ns": None,
        }  # fmt: skip

    def work(tx: Transaction) -> None:
        tables = store.Base.metadata.tables
        rows = [task(number, "agreed") for number in range(ended)]
        rows += [task(ended + number, "") for number in range(opened)]
        optional = {"rank": 0, "priority": 0}
        more = {name: value for name, value in optional.items() if name in tables["tasks"].c}
        tx.session.execute(sa.insert(tables["tasks"]), [{**row, **more} for row in rows])
        vote = {"source": "human", "answers": '{"stop_sign": "held"}', "confidence": 1.0, "at_utc_ns": NOW_NS}
        tx.session.execute(
            sa.insert(tables["votes"]),
            [{"task_id": f"t{number}", "author": who, **vote} for number in range(ended) for who in ("ben", "cid")],
        )
        held = range(ended + opened // 2, ended + opened)  # the oldest are asked first: these are
        tx.session.execute(
            sa.insert(tables["leases"]),
            [
                {"task_id": f"t{n}", "author": who, "lease_id": f"{n}{who}", "expires_at_utc_ns": NOW_NS + 10**12}
                for n in held
                for who in ("ben", "cid")
            ],
        )
        if "ended_counts" in tables:
            counts = {"project": "stop-signs", "outcome": "agreed", "decided_by": "human", "tasks": ended}
            tx.session.execute(sa.insert(tables["ended_counts"]), [counts])

    database.run_now(work)


def median_ms(look: Callable[[], object]) -> float:
    """Of 20, after two that warm up."""
    took = []
    for _ in range(22):
        began = time.perf_counter()
        look()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took[2:])


def measure(ended: int, opened: int) -> dict[str, float]:
    """Milliseconds of each kind of look."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/desk.db", store.Base)
        database.migrate(MIGRATIONS)
        fill(database, ended, opened)
        ask = lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, NOW_NS)  # noqa: E731
        give_back = lambda tx: tx.session.execute(  # noqa: E731
            sa.delete(store.LeaseRow).where(store.LeaseRow.author == "ann")
        )

        def lease() -> None:
            assert database.run_now(ask) is not None
            database.run_now(give_back)

        found = {
            "counts": median_ms(lambda: database.run_now(lambda tx: queries.progress(tx, NOW_NS))),
            "end_decided": median_ms(lambda: database.run_now(lambda tx: transactions.end_decided(tx, NOW_NS, 0.9))),
            "hindsight": median_ms(lambda: database.run_now(queries.tasks_for_hindsight)),
            "lease_and_give_back": median_ms(lease),
        }
        database.close()
    return found


def main(ended: int, opened: int) -> None:
    """Few and many, on the same machine in one run."""
    few, many = measure(FEW, opened), measure(ended, opened)
    figures = {
        name: {
            "few_ms": round(few[name], 3),
            "many_ms": round(many[name], 3),
            "ratio": round(many[name] / few[name], 2),
        }
        for name in few
    }
    print(json.dumps({"ended_few": FEW, "ended_many": ended, "open": opened, **figures}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ended", type=int, default=99_000)
    parser.add_argument("--open", type=int, default=1_000)
    arguments = parser.parse_args()
    main(arguments.ended, arguments.open)
