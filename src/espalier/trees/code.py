"""Problems that a program solves: HumanEval and files of its form, as bare trees that know their tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

from espalier.errors import DataError
from espalier.trees.forest import Forest
from espalier.trees.node import Node, Tree

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def read_humaneval(path: str | os.PathLike[str]) -> Forest:
    """Read HumanEval's rows (Chen et al. 2021, arXiv:2107.03374), each as one bare tree.

    The prompt is the beginning of a program; a response goes on from it. A tree's meta holds what
    `espalier.scorers.UnitTests` reads: `setup`, the prompt; `names`, the function that is asked for; `tests`, here one;
    and `answer`, the canonical continuation.

    Raises:
        DataError: no such file, or a row that is not of this form.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(str(path), None, None, "no such file", "a file to read")
    trees = []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(str(path), line, None, f"no JSON ({error})", "a JSON object a line") from None
        for field in _FIELDS:
            if not isinstance(row, dict) or not isinstance(row.get(field), str):
                found = repr(row.get(field)) if isinstance(row, dict) else type(row).__name__
                raise DataError(str(path), line, field, found, "a string")
        meta = {
            "answer": row["canonical_solution"],
            "setup": row["prompt"],
            "names": [row["entry_point"]],
            "tests": [f"{row['test']}\n\ncheck({row['entry_point']})\n"],
        }
        trees.append(Tree(Node(row["prompt"], "prompt"), row["task_id"], meta))
    return Forest(trees)
