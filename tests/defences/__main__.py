"""Remove every defence of SECURITY.md, one at a time, and require that a test fails: make defences.

    make defences                        every defence; about two hours on two cores
    make defences ARGS=--quick           those whose tests need no broker, browser or identity provider
    make defences ARGS="frames"          those whose threat or name contains one of the texts
    make defences ARGS=--list            names of all

The tests of a defence have to pass without the change, and at least one of them has to fail with it. Exits 1 if a
defence can be removed without a failing test, 2 if a proof is broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.defences.defence import Defence
from tests.defences.page import PAGE, problems_of, rows_of
from tests.defences.run import Proof, Runner, Verdict
from tests.defences.table import DEFENCES


def chosen_of(defences: Sequence[Defence], texts: Sequence[str], quick: bool) -> list[Defence]:
    """Those whose threat or name contains one of the texts; all of them without a text."""
    return [
        each
        for each in defences
        if (each.is_quick or not quick)
        and any(text.lower() in f"{each.threat} {each.name}".lower() for text in texts or [""])
    ]


def table_of(proofs: Sequence[Proof]) -> str:
    """The results as a table for docs/results/defences.md."""
    lines = ["| threat | removed | test that failed |", "|---|---|---|"]
    for each in proofs:
        failed = each.why.partition("[")[0]
        test = f"`{Path(each.defence.test).name}`: `{failed}`" if each.verdict is Verdict.FOUND else each.verdict
        lines.append(f"| {each.defence.threat} | {each.defence.name} | {test} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="make defences", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="*", help="parts of threats or names; all defences by default")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--quick", action="store_true", help="only tests without broker, browser and provider")
    parser.add_argument("--table", type=Path, help="write the results to this file, as a table")
    arguments = parser.parse_args()
    chosen = chosen_of(DEFENCES, arguments.texts, arguments.quick)
    if arguments.list:
        for each in chosen:
            print(f"{each.threat}: {each.name} ({each.test})")
        return 0
    misfits = list(problems_of(rows_of(PAGE.read_text()), DEFENCES))
    for misfit in misfits:
        print(misfit, file=sys.stderr)
    if misfits or not chosen:
        print("nothing was run" if misfits else "no defence has this text; see --list", file=sys.stderr)
        return 2
    began_s, proofs = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="defences-", ignore_cleanup_errors=True) as scratch:
        runner = Runner(Path(scratch))
        for number, each in enumerate(chosen, 1):
            print(f"{number}/{len(chosen)} {each.name}", flush=True)
            proof = runner.prove(each)
            proofs.append(proof)
            print(f"    {proof.verdict}, {proof.seconds:.0f} s: {proof.why}", flush=True)
    counts = {verdict: sum(proof.verdict is verdict for proof in proofs) for verdict in Verdict}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"{len(proofs)} defences removed in {time.monotonic() - began_s:.0f} s: {said}")
    for proof in proofs:
        if proof.verdict is not Verdict.FOUND:
            print(f"  {proof.verdict}: {proof.defence.threat}: {proof.defence.name}: {proof.why}")
    if arguments.table:
        arguments.table.write_text(table_of(proofs))
    return 1 if counts[Verdict.NOT_FOUND] else 2 if counts[Verdict.BROKEN] else 0


if __name__ == "__main__":
    sys.exit(main())
