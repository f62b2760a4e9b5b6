"""The table in papers/README.md, made from results.jsonl: the last result of every paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from papers.found import HERE
from papers.run import RESULTS

README = HERE / "README.md"
BEGIN, END = "<!-- table: python -m papers table -->", "<!-- end of table -->"


def latest(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The last line of each paper, by id."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    rows = [json.loads(line) for line in lines if line.strip()]
    return {row["id"]: row for row in sorted(rows, key=lambda row: row["when"])}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown, by chapter."""
    parts = []
    for chapter in sorted({row["chapter"] for row in rows.values()}):
        own = sorted((row for row in rows.values() if row["chapter"] == chapter), key=lambda row: row["id"])
        reproduced = sum(row["verdict"] == "reproduced" for row in own)
        parts += [
            f"## {chapter}",
            "",
            f"{reproduced} of {len(own)} reproduced, in {sum(row['seconds'] for row in own) / 60:.1f} core minutes.",
            "",
            "| paper | claim, as far as tested | verdict | what the rule found | seeds, seconds, commit |",
            "|---|---|---|---|---|",
        ]
        parts += [
            f"| {row['id']} {row['title']}{_picture(row['id'])} | {row['claim']} | **{row['verdict']}** "
            f"| {_brief(row['reason'])} | {row['seeds']}, {row['seconds']:.0f}, {row['commit']} |".replace("\n", " ")
            for row in own
        ]
        parts.append("")
    return "\n".join(parts)


def _brief(reason: str) -> str:
    """All that does not hold, and as much of what holds as makes four."""
    parts = reason.split("; ")
    failed = [part for part in parts if not part.endswith("(yes)")]
    held = [part for part in parts if part.endswith("(yes)")]
    shown = [*failed, *held[: max(0, 4 - len(failed))]]
    more = len(parts) - len(shown)
    return "; ".join(shown) + (f"; {more} more hold" if more else "")


def _picture(name: str) -> str:
    path = f"figures/{name.lower()}.svg"
    return f" ([figure]({path}))" if (HERE / path).exists() else ""


def write(readme: Path = README, results: Path = RESULTS) -> None:
    """Put the table between its two marks."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{table(latest(results))}\n{END}{after}", encoding="utf-8")
