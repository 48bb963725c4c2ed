"""Plant one fault at a time in a module and list those that its unit tests do not find.

    python scripts/mutants.py label_desk/core rollout_controller/core [--sample 60] [--seed 1]

A module is named by its path below services/ or libraries/fleetloop/, without `.py`. Its tests are those of its
package in tests/unit. cosmic-ray makes the faults, in a copy of the working tree. With --sample only so many of the
possible faults are tried, chosen at random. Exits 1 if a fault survives. Run it as `make mutants ARGS=...`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COSMIC_RAY = ROOT / ".venv-tools" / "bin" / "cosmic-ray"
PYTHON = ROOT / ".venv" / "bin" / "python"
_TEST_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Target:
    """A module and the tests that have to find its faults."""

    source: str
    tests: str


@dataclass(frozen=True, slots=True)
class Survivor:
    """A fault that no test found."""

    line: int
    operator: str
    difference: str


def target_of(name: str, root: Path = ROOT) -> Target:
    """Find a module and its package's tests. Raises SystemExit if one of them does not exist."""
    for base, tests in (("services", "tests/unit"), ("libraries/fleetloop", "tests/unit/fleetloop")):
        source = Path(base) / f"{name}.py"
        folder = Path(tests) / name.rpartition("/")[0]
        if (root / source).is_file():
            if not (root / folder).is_dir():
                raise SystemExit(f"{source} has no tests in {folder}")
            return Target(str(source), str(folder))
    raise SystemExit(f"there is no module {name}: name it as in label_desk/core or domain/rates")


def copy_tree(target: Path) -> None:
    """Copy the tracked files as they are now, and the generated stubs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    stubs = Path("libraries/fleetloop/protos")
    shutil.copytree(ROOT / stubs, target / stubs)


def configure(target: Target, path: Path) -> None:
    """Write cosmic-ray's configuration."""
    command = f"{PYTHON} -m pytest -x -q -p no:cacheprovider {target.tests}"
    path.write_text(
        "[cosmic-ray]\n"
        f'module-path = "{target.source}"\n'
        f"timeout = {_TEST_TIMEOUT_S}\n"
        "excluded-modules = []\n"
        f'test-command = "{command}"\n'
        "[cosmic-ray.distributor]\n"
        'name = "local"\n'
    )


# Faults that change nothing: annotations are not evaluated, and our enums' members are singletons.
EQUIVALENT = "BinaryOperator_BitOr_|Comparison(Operator)?_Is(Not)?_(Not)?Eq$"

# Runs in the tools' environment, which has cosmic-ray: marks equivalent faults and all but a sample as skipped.
_KEEP_A_SAMPLE = """
import random, re, sys
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult
with use_db(sys.argv[1], WorkDB.Mode.open) as db:
    items = list(db.work_items)
    chosen = [item for item in items if not re.search(sys.argv[4], item.mutations[0].operator_name)]
    random.Random(int(sys.argv[3])).shuffle(chosen)
    kept = {item.job_id for item in chosen[: int(sys.argv[2]) or None]}
    for item in items:
        if item.job_id in kept:
            continue
        db.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
"""


def survivors_in(dump: str) -> tuple[Counter[str], list[Survivor]]:
    """Parse `cosmic-ray dump`: outcomes by name, and the faults that survived."""
    outcomes: Counter[str] = Counter()
    survivors = []
    for line in dump.splitlines():
        work, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        outcomes[str(result["test_outcome"])] += 1
        if result["test_outcome"] == "survived":
            mutation = work["mutations"][0]
            operator = mutation["operator_name"].rpartition("/")[2]
            survivors.append(Survivor(mutation["start_pos"][0], operator, result["diff"] or ""))
    return outcomes, sorted(survivors, key=lambda each: each.line)


def mutate(target: Target, sample: int, seed: int) -> tuple[Counter[str], list[Survivor]]:
    """Try the faults of one module. Raises CalledProcessError if its tests fail without a fault."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        copy_tree(tree)
        config, session = Path(folder) / "config.toml", Path(folder) / "session.sqlite"
        configure(target, config)

        def cosmic_ray(*arguments: str) -> str:
            command = [str(COSMIC_RAY), *arguments]
            return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout

        cosmic_ray("baseline", str(config))
        cosmic_ray("init", str(config), str(session))
        python = str(COSMIC_RAY.with_name("python"))
        choose = [python, "-c", _KEEP_A_SAMPLE, str(session), str(sample), str(seed), EQUIVALENT]
        subprocess.run(choose, check=True)
        cosmic_ray("exec", str(config), str(session))
        return survivors_in(cosmic_ray("dump", str(session)))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="+", help="modules such as label_desk/core")
    parser.add_argument("--sample", type=int, default=60, help="faults to try per module; 0 for all")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="seed of the sample")
    arguments = parser.parse_args()
    survived = 0
    for name in arguments.modules:
        target = target_of(name)
        began_s = time.monotonic()
        print(f"{target.source}, tests in {target.tests}, seed {arguments.seed}", flush=True)
        outcomes, survivors = mutate(target, arguments.sample, arguments.seed)
        tried = sum(outcomes.values())
        print(f"  {tried} faults tried, {len(survivors)} survived, {time.monotonic() - began_s:.0f} s", flush=True)
        for each in survivors:
            changed = [
                line for line in each.difference.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
            ]
            print(f"  line {each.line}, {each.operator}")
            print("".join(f"    {line}\n" for line in changed), end="")
        survived += len(survivors)
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
