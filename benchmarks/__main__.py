"""`python -m benchmarks [CASE...]`: run cases, keep their figures, renew the tables of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import cases, harness, machine, table

RESULTS = Path(__file__).parent / "results.json"


def every_case(smoke: bool) -> Iterator[harness.Case]:
    """The cases of all modules in `benchmarks.cases`, each of which has `cases(smoke)`."""
    for module in sorted(pkgutil.iter_modules(cases.__path__), key=lambda found: found.name):
        yield from importlib.import_module(f"benchmarks.cases.{module.name}").cases(smoke)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", help="names of cases, or their beginnings; all by default")
    parser.add_argument("--list", action="store_true", help="show the cases and end")
    parser.add_argument("--rounds", type=int, help="of each contestant, in turn (default: 5, and 1 of a trial)")
    parser.add_argument("--threads", type=int, default=min(2, machine.cores()))
    parser.add_argument("--smoke", action="store_true", help="tiny models: does everything run?")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="figures of the cases run now replace older ones there"
    )
    asked = parser.parse_args(words)

    rounds = asked.rounds or (1 if asked.smoke else 5)
    known = {case.name: case for case in every_case(asked.smoke)}
    chosen = [name for name in known if not asked.case or any(name.startswith(start) for start in asked.case)]
    if not chosen:
        parser.error(f"no such case; the cases are {', '.join(known)}")
    if asked.list:
        for name in chosen:
            print(f"{name:24} {known[name].title}")
        return 0

    def said(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` ends a case as Ctrl-C does
    results = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    here = machine.describe(asked.threads)
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="espalier-bench-") as folder:
            record = harness.run(known[name], Path(folder), rounds, asked.threads, said)
        if record["contestants"]:
            results[name] = {**record, "machine": here, "date": datetime.date.today().isoformat()}
            asked.out.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        if record["stopped"]:
            print(f"{name}: stopped; the rounds made before that count", file=sys.stderr)
            return 130
    table.show({name: results[name] for name in chosen})
    if asked.out == RESULTS:
        table.update_docs(results)
    return 1 if any(results[name]["errors"] for name in chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
