"""A database that is in use is brought up to date with its rows in it, on both kinds."""

from __future__ import annotations

import importlib
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from fleetloop.kit.storage.database import MIGRATION_ENVIRONMENT, Database

SERVICES = Path(__file__).parents[2] / "services"


def database_at(url: str, package: str, revision: str, rows: list[str]) -> Database:
    """A service's database as an earlier version left it, then brought up to date."""
    base = importlib.import_module(f"{package}.store").Base
    database = Database(url, base)
    config = Config()
    config.set_main_option("script_location", str(MIGRATION_ENVIRONMENT))
    config.set_main_option("version_locations", str(SERVICES / package / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"], config.attributes["metadata"] = database.engine, base.metadata
    command.upgrade(config, revision)
    with database.engine.begin() as connection:
        for row in rows:
            connection.execute(sa.text(row))
    database.migrate(SERVICES / package / "migrations")
    return database


def test_the_desk_keeps_its_tasks_with_their_votes_and_counts_those_that_ended(database_url: str) -> None:
    task = (
        "insert into tasks (task_id, project, task, priority, agreement, created_at_utc_ns, created, "
        "wants_hindsight, wants_people, outcome, decided_by) "
        "values ('{0}', 'p', 'stop_sign', {1}, 2, 7, '', false, true, '{2}', '{3}')"
    )
    vote = "insert into votes values ('{0}', 'ann', 'human', '{{}}', 1.0, 5)"
    lease = "insert into leases values ('open', 'ben', 'l1', 99)"
    rows = [task.format("done", 3, "agreed", "human"), task.format("open", 9, "", ""), vote.format("done"), lease]
    database = database_at(database_url, "label_desk", "0001", rows)
    with database.engine.connect() as connection:
        told = connection.execute(sa.text("select task_id, rank, ended_at_utc_ns from tasks order by task_id"))
        assert [tuple(row) for row in told] == [("done", -3, 7), ("open", -9, None)]
        counts = connection.execute(sa.text("select project, outcome, decided_by, tasks from ended_counts"))
        assert [tuple(row) for row in counts] == [("p", "agreed", "human", 1)]
        for table in ("votes", "leases"):
            assert connection.execute(sa.text(f"select count(*) from {table}")).scalar() == 1
    database.close()


def test_the_rollout_knows_when_vehicles_were_heard_from_and_each_models_latest_change(database_url: str) -> None:
    model = (
        "insert into models (digest, number, stage, run, files, published) values ('m{0}', {0}, 's', '', '[]', true)"
    )
    change = "insert into changes values ({0}, 'm{1}', '')"
    vehicle = (
        "insert into vehicles (vehicle_id, version, signed_at_utc_ns, active, shadow, rollout_id, cohort, attested, "
        "attested_boot, attested_sequence, attested_at_utc_ns) "
        "values ('v{0}', 1, {1}, '', '', '', 'control', '', '', 0, {2})"
    )
    rows = [model.format(1), model.format(2), *(change.format(n, m) for n, m in ((1, 1), (2, 2), (3, 1)))]
    rows += [vehicle.format(1, 50, 70), vehicle.format(2, 60, 0)]
    database = database_at(database_url, "rollout_controller", "0001", rows)
    with database.engine.connect() as connection:
        latest = connection.execute(sa.text("select digest, latest_sequence from models order by digest"))
        assert [tuple(row) for row in latest] == [("m1", 3), ("m2", 2)]
        seen = connection.execute(sa.text("select last_seen_utc_ns from vehicles order by vehicle_id"))
        assert [row[0] for row in seen] == [70, 60]
    database.close()
