"""python -m papers list | run ID... [--chapter C] [--smoke] [--seeds N] [--workers N] | table"""

from __future__ import annotations

import os
import sys
import time

from cyclopts import App

from espalier.errors import EspalierError
from espalier.report.progress import track
from papers import found
from papers.paper import Result
from papers.run import Done, run
from papers.table import README, latest, write

app = App(name="python -m papers", help="Published claims, measured again.")


@app.command(name="list")
def listed(chapter: str | None = None) -> None:
    """The papers that have a file, with their last verdict."""
    known = latest()
    for name, path in found.files(chapter).items():
        paper, _ = found.load(path)
        print(f"{name}  {known[name]['verdict'] if name in known else 'not run':<15} {path.parent.name}: {paper.title}")


@app.command(name="run")
def ran(
    *ids: str,
    chapter: str | None = None,
    smoke: bool = False,
    seeds: int | None = None,
    workers: int | None = None,
) -> None:
    """Measure papers, print the verdicts, and add them to results.jsonl.

    Parameters
    ----------
    ids: the papers; none means all (of the chapter).
    smoke: a second or two each, to see that the files work; nothing is stored.
    seeds: instead of what each paper says.
    workers: processes; one a core where not given.
    """
    paths = found.chosen(list(ids), chapter)
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = sum(2 if smoke else seeds or found.load(path)[0].seeds for path in paths)
    start = time.perf_counter()
    with track("papers", total=total, unit="runs") as bar:

        def each(done: Done) -> None:
            bar.advance(1, note=f"{done.task.path.stem} seed {done.task.seed}: {done.seconds:.0f} s")

        results = run(paths, seeds=seeds, smoke=smoke, workers=workers, each=each)
    for name, result in results.items():
        print(name, f"{result.verdict}: {result.reason}" if isinstance(result, Result) else f"FAILED {result}")
    failed = [name for name, result in results.items() if isinstance(result, str)]
    print(f"{len(results)} papers in {time.perf_counter() - start:.0f} s, {len(failed)} failed")
    if failed:
        sys.exit(1)


@app.command(name="table")
def tabled() -> None:
    """Write the table in papers/README.md."""
    write()
    print(f"{len(latest())} results in {README.name}")


def main() -> None:
    try:
        app()
    except EspalierError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the papers that were done are in results.jsonl", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
