"""A report as JSON and back, so that a run keeps what it reported and its page can be drawn again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from espalier.errors import DataError
from espalier.report.parts import (
    Bin,
    Curve,
    Difference,
    Overoptimisation,
    Reliability,
    Report,
    Row,
    ShownTree,
)
from espalier.trees import Node, Score, Stream, Tree

PLAIN = ("title", "summary", "facts", "training", "settings")


def to_json(report: Report) -> str:
    """The report as one JSON object; what a tree's nodes hold is kept, log-probs and streams included."""
    saved: dict[str, Any] = {name: getattr(report, name) for name in PLAIN}
    saved["metrics"] = {name: asdict(metric) for name, metric in report.metrics.items()}
    for name in ("rows", "differences", "curves", "reliability", "overoptimisation"):
        saved[name] = [asdict(part) for part in getattr(report, name)]
    saved["trees"] = [_tree_to_dict(shown) for shown in report.trees]
    return json.dumps(saved)


def from_json(text: str, file: str = "audit.json") -> Report:
    """The report that `to_json` wrote.

    Raises:
        DataError: not JSON, or a part that this version does not know.
    """
    from espalier.training.metrics import Metric

    try:
        saved = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(file, error.lineno, None, f"no JSON ({error.msg})", "a saved report") from None
    try:
        plain = {name: saved.pop(name) for name in PLAIN if name in saved}
        metrics = {name: Metric(**metric) for name, metric in saved.pop("metrics", {}).items()}
        readers = {
            "rows": lambda part: Row(**{**part, "accuracy": _interval(part["accuracy"])}),
            "differences": lambda part: Difference(part["name"], _interval(part["interval"])),
            "curves": lambda part: Curve(**part),
            "reliability": _reliability,
            "overoptimisation": lambda part: Overoptimisation(
                part["name"], Curve(**part["proxy"]), Curve(**part["true"])
            ),
            "trees": _tree_from_dict,
        }
        parts: dict[str, Any] = {name: [read(part) for part in saved.pop(name, [])] for name, read in readers.items()}
        return Report(**plain, metrics=metrics, **parts, **saved)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            file, None, None, f"{type(error).__name__}: {error}", "a report as to_json writes it"
        ) from error


def _interval(saved: dict[str, Any]) -> Any:
    from espalier.audit.intervals import Interval

    return Interval(**saved)


def _reliability(saved: dict[str, Any]) -> Reliability:
    length = saved["length_auc"]
    return Reliability(
        saved["name"],
        _interval(saved["auc"]),
        None if length is None else _interval(length),
        saved["ece"],
        [Bin(bin["predicted"], _interval(bin["observed"]), bin["count"]) for bin in saved["bins"]],
    )


def _tree_to_dict(shown: ShownTree) -> dict[str, Any]:
    """Nodes as a list, parents first; `parent` and `chosen` are places in it."""
    nodes = list(shown.tree.walk())
    places = {id(node): i for i, node in enumerate(nodes)}
    return {
        "id": shown.tree.id,
        "meta": shown.tree.meta,
        "score": shown.score,
        "correct": shown.correct,
        "title": shown.title,
        "chosen": [places[id(node)] for node in shown.chosen],
        "nodes": [
            {
                "parent": None if node.parent is None else places[id(node.parent)],
                "text": node.text,
                "author": node.author,
                "token_ids": node.token_ids,
                "logprobs": node.logprobs,
                "stop": node.stop,
                "scores": {name: asdict(score) for name, score in node.scores.items()},
                "meta": node.meta,
                "streams": {n: [stream.values.tolist(), stream.path] for n, stream in node.streams.items()},
            }
            for node in nodes
        ],
    }


def _tree_from_dict(saved: dict[str, Any]) -> ShownTree:
    nodes: list[Node] = []
    for row in saved["nodes"]:
        parent = row.pop("parent")
        scores = {name: Score(**score) for name, score in row["scores"].items()}
        streams = {name: Stream(np.array(values, np.float32), path) for name, (values, path) in row["streams"].items()}
        node = Node(**{**row, "scores": scores, "streams": streams})
        nodes.append(node if parent is None else nodes[parent].add(node))
    tree = Tree(nodes[0], saved["id"], saved["meta"])
    chosen = [nodes[place] for place in saved["chosen"]]
    return ShownTree(tree, saved["score"], saved["correct"], chosen, saved["title"])
