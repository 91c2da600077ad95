"""Run the benchmarks that fit this machine, one after the other, and compare with the last time.

    python -m benchmarks --list                 # what there is, what it costs
    python -m benchmarks                        # all of seconds and minutes
    python -m benchmarks --most hours           # all
    python -m benchmarks --only parse_star landscape
    python -m benchmarks --quick                # small sizes: do they run? nothing is recorded

Each prints its own table. At the end: what ran and how long, and the figures that moved by more
than a fifth since the last record on the same kind of machine (processor, cores, device).
`--record` keeps the new ones in `benchmarks/results`; a machine of another kind gets files of its
own, as `backprojection_64.nvidia-h200-16-cores.json`. On GPUs programs run at the sizes of one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from compare import changes, file_for, last_recorded
from record import RESULTS, print_table
from suite import COSTS, HERE, Program, chosen


def list_programs() -> None:
    """Print every program, its cost and what it measures."""
    rows = []
    for program in chosen([], "hours"):
        first = (HERE / f"{program.name}.py").read_text(encoding="utf-8").splitlines()[0]
        rows.append({
            "program": program.name, "cost": program.cost,
            "quick": "" if program.quick is None else "yes", "what": first.strip('"'),
        })  # fmt: skip
    print_table(rows, ["program", "cost", "quick", "what"])


def run_one(program: Program, quick: bool, on_gpu: bool, folder: Path) -> dict[str, Any]:
    """Run a program in a process of its own; what came of it."""
    words = program.arguments(quick=quick, on_gpu=on_gpu)
    name = program.result or program.name
    row: dict[str, Any] = {"program": name, "outcome": "", "seconds": ""}
    if words is None:
        return row | {"outcome": "has nothing quick"}
    missing = program.lacks(words)
    if missing:
        return row | {"outcome": f"skipped: needs {missing}"}
    out = folder / f"{name}.json"
    command = [sys.executable, str(HERE / f"{program.name}.py"), *words, program.output, str(out)]
    print(f"\n— {' '.join(command[1:-2])}", flush=True)
    began = time.perf_counter()
    done = subprocess.run(command, check=False)
    row["seconds"] = round(time.perf_counter() - began, 1)
    if done.returncode or not out.is_file():
        return row | {"outcome": f"FAILED with status {done.returncode}"}
    return row | {"outcome": "done", "content": json.loads(out.read_text(encoding="utf-8"))}


def report(rows: list[dict[str, Any]], *, compare: bool, record: bool) -> None:
    """Print what ran, and what moved; keep it if asked to."""
    print()
    print_table(rows, ["program", "outcome", "seconds"])
    moved = []
    for row in rows:
        content = row.get("content")
        if content is None or not compare:
            continue
        before = last_recorded(RESULTS, row["program"], content)
        if before is not None:
            of_it = changes(content, before)
            moved += [change | {"program": row["program"]} for change in of_it]
        if record:
            path = file_for(RESULTS, row["program"], content)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if moved:
        print("\nmoved by more than a fifth since the last record on such a machine:")
        print_table(moved, ["", "program", "figure", "before", "now", "×"])
    elif compare:
        print("\nnothing moved by more than a fifth since the last record on such a machine")


def main() -> int:
    """Run what is asked for; the status is 1 if a program failed."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="name them, run none")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run these")
    parser.add_argument(
        "--most", choices=COSTS, default="minutes", help="leave out what costs more"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing compared")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    args = parser.parse_args()
    if args.list:
        list_programs()
        return 0
    # Asked in a process of its own: one that holds a GPU leaves no memory there to the others.
    ask = "import jax; print(jax.default_backend())"
    backend = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True
    )
    on_gpu = backend.stdout.split()[-1:] == ["gpu"]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for program in chosen(args.only, args.most):
            rows.append(run_one(program, args.quick, on_gpu, Path(name)))
    report(rows, compare=not args.quick, record=args.record and not args.quick)
    return int(any(row["outcome"].startswith("FAILED") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
