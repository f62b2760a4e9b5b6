"""From results.json to tables: in the terminal, and between two markers of docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

DOCS = Path(__file__).parents[1] / "docs/benchmarks.md"
BEGIN, END = "<!-- figures: python -m benchmarks -->", "<!-- end of figures -->"

Record = dict[str, Any]


def figure(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def limit(record: Record, claim: Record) -> float | None:
    """What the ratio of two rates would be if `ours` made its FLOPs at the peak that this machine showed in this run.

    None where the case counts no FLOPs, or compares no speeds of ours and a peer's.
    """
    machine, ours = record["machine"], record["contestants"][claim["ours"]]
    peak = machine.get("bf16_gflops" if machine["bf16_hardware"] else "fp32_gflops")
    rounds = ours["rounds"]
    rate = claim["ours"] == "espalier" and record["unit"] in ("tokens/s", "steps/minute")
    if not peak or not rate or "ratio" not in claim or "flops" not in rounds[0]:
        return None
    speed = statistics.median(row["flops"] / row["seconds"] / 1e9 for row in rounds)
    return claim["ratio"] * peak / speed


def claim_rows(record: Record) -> list[tuple[str, ...]]:
    """Of each claim: who over whom, the ratio with its range over the rounds, what was asked, whether it holds, and
    the ratio at the peak."""
    rows = []
    for claim in record["claims"]:
        if "within" in claim:
            who, measured = f"{claim['ours']} - {claim['other']}, loss", f"{claim['largest']:.1e}"
        else:
            who = f"{claim['ours']} / {claim['other']}" if claim["other"] else claim["ours"]
            measured = f"{claim['ratio']:.2f} ({claim['low']:.2f} to {claim['high']:.2f})"
        bounds = (("least", "at least {:.3g}"), ("most", "at most {:.3g}"), ("within", "within {:.0e}"))
        asked = next((words.format(claim[key]) for key, words in bounds if key in claim), "")
        highest = limit(record, claim)
        held = {True: "yes", False: "no", None: ""}[claim.get("held")]
        rows.append((who, measured, asked, held, "" if highest is None else f"{highest:.2f}"))
    return rows


def contestant_rows(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            name,
            figure(row["median"]),
            f"{figure(row['low'])} to {figure(row['high'])}",
            *(figure(statistics.median(made[key] for made in row["rounds"])) for key in record.get("beside", ())),
            str(row["count"]),
        )
        for name, row in record["contestants"].items()
    ]


def heads(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return ("contestant", f"{record['unit']}, median", "range", *record.get("beside", {}).values(), "rounds"), (
        "ratio",
        "measured",
        "asked",
        "reached",
        "at the peak",
    )


def show(results: Mapping[str, Record]) -> None:
    console = Console(width=120)
    for name, record in results.items():
        who, what = heads(record)
        for title, head, rows in (
            (f"{name}: {record['title']}", who, contestant_rows(record)),
            ("", what, claim_rows(record)),
        ):
            if rows:
                shown = Table(*head, title=title or None, title_justify="left")
                for row in rows:
                    shown.add_row(*row)
                console.print(shown)
        if record["absent"]:
            console.print(f"not there: {', '.join(record['absent'])}")
        for who_failed, error in record["errors"].items():
            console.print(f"failed: {who_failed}: {error}", markup=False)


def markdown(results: Mapping[str, Record]) -> str:
    parts = []
    for name, record in results.items():
        machine, versions = record["machine"], record["versions"]
        peak = ", ".join(f"{key.split('_')[0]} {machine[key]:.0f}" for key in machine if key.endswith("_gflops"))
        libraries = "; ".join(
            f"{where}: " + ", ".join(f"{library} {number}" for library, number in found.items())
            for where, found in versions.items()
        )
        who, what = heads(record)
        parts += [f"### {name}", f"{record['title']}.", _table(who, contestant_rows(record))]
        if record["claims"]:
            parts.append(_table(what, claim_rows(record)))
        parts += [f"Failed: {who_failed}." for who_failed in record["errors"]]
        parts += [chosen(name, row["searched"]) for name, row in record["contestants"].items() if "searched" in row]
        parts.append(
            f"{record['date']}, {machine['processor']}, {machine['threads']} threads, "
            f"matrix products at {peak} GFLOP/s. {libraries}."
        )
    return "\n\n".join(parts)


def chosen(name: str, searched: list[dict[str, Any]]) -> str:
    """What the search for a contestant's best settings kept, and what the others took."""
    tried = sorted(searched, key=lambda row: row["seconds"])
    words = [f"{', '.join(f'{k} {v}' for k, v in row['settings'].items())} {row['seconds']:.1f} s" for row in tried]
    return f"{name}, searched: **{words[0]}**" + "".join(f"; {each}" for each in words[1:]) + "."


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def update_docs(results: Mapping[str, Record]) -> None:
    text = DOCS.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCS.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{after}", encoding="utf-8")
