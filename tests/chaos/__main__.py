"""`make chaos`: harm the running system in every way, under load, and say what was lost, doubled, unseen or stuck.

    make chaos                                                    every nemesis
    make chaos ARGS=quick                                         a choice of them, within 10 minutes
    make chaos ARGS="--nemesis kill_service --runs 20 --seed 7"   one kind; the seed replays the schedule
    make chaos ARGS=mutants                                       the oracle against faults planted in services
    make chaos ARGS=list                                          names of all nemeses
    make chaos ARGS="table FOLDER..."                             the table of earlier runs

Results are in .fleetloop/chaos, one folder per run, with a history per system. docs/results/chaos.md explains them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import sandbox
from tests.chaos.episodes import Limits, Stage, history_path
from tests.chaos.history import Recorder
from tests.chaos.load import running_load
from tests.chaos.mutants import MUTANTS, Mutant, run_mutant
from tests.chaos.mutants import found as count_found
from tests.chaos.nemeses.registry import NEMESES, select
from tests.chaos.report import EpisodeResult, result_from, table
from tests.chaos.schedule import Episode, make_schedule
from tests.chaos.system import running_system
from tests.chaos.vehicle import Rates

RESULTS = Path(".fleetloop/chaos")
EPISODES_PER_SYSTEM = 12
"""After as many episodes a fresh system is started, so that the oracle's work does not grow with the run."""
QUICK = (
    "kill_service", "pause_service", "kill_broker", "kill_postgres", "slow_link", "scale", "poison", "repeats",
    "delete_state", "wrong_password", "no_rights",
)  # fmt: skip
QUICK_EPISODES = 12
QUICK_BUDGET_S = 480.0
"""The quick form begins no episode after this time."""


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Chaos tests of the whole running system.")
    parser.add_argument("form", nargs="?", default="full", choices=["full", "quick", "mutants", "list", "table"])
    parser.add_argument("folders", nargs="*", type=Path, help="results of earlier runs, for `table`")
    parser.add_argument("--nemesis", action="append", default=[], help="a name or its first part; all by default")
    parser.add_argument("--runs", type=int, default=1, help="episodes of each nemesis")
    parser.add_argument("--mixed", type=int, default=0, help="episodes with two or three nemeses at once")
    parser.add_argument("--seed", type=int, default=None, help="decides everything; random by default, and printed")
    parser.add_argument("--vehicles", type=int, default=12)
    parser.add_argument("--batch-s", type=float, default=1.0, help="seconds between two batches of a vehicle")
    parser.add_argument("--mutant", default="", help="with `mutants`: a part of the names; all by default")
    parser.add_argument("--patience-s", type=float, default=180.0, help="what has not arrived by then is lost")
    parser.add_argument("--no-postgres", action="store_true", help="all databases in SQLite")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


async def play(
    episodes: Sequence[Episode], folder: Path, arguments: argparse.Namespace, budget_s: float
) -> list[EpisodeResult]:
    """Play all episodes, and append each result to `results.jsonl`."""
    results: list[EpisodeResult] = []
    began_s = time.monotonic()
    left = list(episodes)
    generation = 0
    while left and time.monotonic() - began_s < budget_s:
        history = history_path(folder, generation)
        say(f"system {generation} starts in {history.parent}")
        with ExitStack() as stack:
            kinds = {act.nemesis.split("/")[0] for episode in episodes for act in episode.acts}
            system = stack.enter_context(
                running_system(
                    history.parent / "system",
                    use_postgres=not arguments.no_postgres,
                    wrong_clocks="clock_step" in kinds,
                    small_disks="disk_full" in kinds,
                )
            )
            recorder = Recorder(history)
            stack.callback(recorder.close)
            rng = random.Random(arguments.seed + generation)
            rates = Rates(batch_s=arguments.batch_s)
            async with running_load(system, recorder, arguments.vehicles, rates, rng) as load:
                stage = Stage(system, load, recorder, limits_of(arguments.patience_s), say)
                for _ in range(EPISODES_PER_SYSTEM):
                    if not left or time.monotonic() - began_s > budget_s:
                        break
                    episode = left.pop(0)
                    names = " + ".join(f"{act.nemesis} (seed {act.seed})" for act in episode.acts)
                    say(f"[{episode.number + 1}/{len(episodes)}] {names}")
                    results.append(await stage.play(episode))
                    with (folder / "results.jsonl").open("a") as file:
                        file.write(json.dumps(results[-1].to_dict()) + "\n")
                    if results[-1].findings:  # what is wrong must not be found again in later episodes
                        break
        generation += 1
    return results


def main(arguments: Sequence[str]) -> int:
    """Run the chosen form. Returns 0 if nothing was found, 1 otherwise, 2 for a wrong argument."""
    chosen = parse(arguments)
    if chosen.form == "list":
        for name, entry in NEMESES.items():
            print(f"{name}  (not here: {why})" if (why := entry.missing()) else name)
        return 0
    if chosen.form == "table":
        print(table(read_results(chosen.folders)))
        return 0
    if chosen.form == "mutants":
        seed = [] if chosen.seed is None else ["--seed", str(chosen.seed)]
        folder = chosen.out.resolve() / datetime.now(UTC).strftime("mutants-%Y%m%d-%H%M%S")
        return run_mutants([each for each in MUTANTS if chosen.mutant in each.name], folder, seed)
    if not sandbox.missing():
        sandbox.enter("tests.chaos", arguments)
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(2**31)
    try:
        names = select(chosen.nemesis or (list(QUICK) if chosen.form == "quick" else []))
    except KeyError as error:
        print(f"There is no nemesis {error.args[0]!r}; see `make chaos ARGS=list`.", file=sys.stderr)
        return 2
    missing = {name: why for name in names if (why := NEMESES[name].missing())}
    here = [name for name in names if name not in missing]
    if chosen.form == "quick" and not chosen.nemesis:
        episodes = quick_schedule(here, chosen.seed)
    else:
        episodes = make_schedule(here, chosen.runs, chosen.seed, chosen.mixed)
    folder = chosen.out / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    # Clients say much about a broker that is away; here that is what is meant to happen.
    logging.basicConfig(filename=folder / "harness.log", level=logging.WARNING)
    say(f"{len(episodes)} episodes with seed {chosen.seed}; results in {folder}")
    budget_s = QUICK_BUDGET_S if chosen.form == "quick" else float("inf")
    results = asyncio.run(play(episodes, folder, chosen, budget_s))
    skipped = [EpisodeResult(name, 0, (name,), (), None, None, "", why) for name, why in missing.items()]
    text = table([*results, *skipped])
    (folder / "table.md").write_text(text)
    print(text)
    say(f"{len(results)} of {len(episodes)} episodes; replay with --seed {chosen.seed}")
    return 1 if not results or any(result.findings for result in results) else 0


def limits_of(patience_s: float) -> Limits:
    """The limits of an episode that gives up after `patience_s` seconds."""
    return Limits(holds_within_s=min(Limits().holds_within_s, patience_s), gives_up_after_s=patience_s)


def run_mutants(mutants: Sequence[Mutant], folder: Path, options: Sequence[str]) -> int:
    """Run mutants. Returns 0 if the oracle has found each, 1 otherwise, 2 for none."""
    missed = 0
    for number, mutant in enumerate(mutants):
        own = folder / f"mutant-{number}"
        own.mkdir(parents=True)
        found = count_found(mutant, run_mutant(mutant, own, options))
        missed += not found
        say(f"{mutant.name}: {found} findings, {mutant.stage} {mutant.fault.value}" if found else
            f"{mutant.name}: MISSED at {mutant.stage}, see {own}")  # fmt: skip
    return 1 if missed else 0 if mutants else 2


def quick_schedule(names: Sequence[str], seed: int) -> list[Episode]:
    """One episode of each kind, with a victim that the seed chooses, and mixed ones up to `QUICK_EPISODES`."""
    rng = random.Random(seed)
    kinds = sorted({name.split("/")[0] for name in names})
    chosen = [rng.choice([name for name in sorted(names) if name.split("/")[0] == kind]) for kind in kinds]
    mixed = max(0, QUICK_EPISODES - len(chosen))
    return make_schedule(chosen, 1, rng.randrange(2**31), mixed)


def read_results(folders: Sequence[Path]) -> list[EpisodeResult]:
    """The results of earlier runs."""
    lines = [line for folder in folders for line in (folder / "results.jsonl").read_text().splitlines()]
    return [result_from(json.loads(line)) for line in lines]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
