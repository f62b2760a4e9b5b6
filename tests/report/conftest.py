"""A report with made-up numbers of realistic shape, to draw in tests and to look at while changing the page.

python tests/report/sample.py sample.html
"""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from espalier.audit.intervals import Interval
from espalier.report import (
    Bin,
    Curve,
    Difference,
    Overoptimisation,
    Reliability,
    Report,
    Row,
    ShownTree,
    write_html,
)
from espalier.training.metrics import METRICS
from espalier.trees import Node, Score, Tree, put_stream
from espalier.trees.streams import TOKEN_ENDS

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)> {{ 7*7 }} "quoted" \ud800'


def about(estimate: float, half: float) -> Interval:
    return Interval(estimate, estimate - half, estimate + half, n=320)


def curve(name: str, x: list[float], y: list[float], half: float = 0.03) -> Curve:
    return Curve(name, x, y, [v - half for v in y], [v + half for v in y])


def best_of_n_tree() -> ShownTree:
    rng = np.random.default_rng(1)
    root = Node("Compute (7 + 5) * 3 - 4.\n", "prompt", token_ids=[1] * 12)
    chosen = root
    for i in range(8):
        node, right = root, i in (2, 3, 6)
        steps = [
            "(7 + 5) = 12\n",
            "12 * 3 = 36\n" if right else f"12 * 3 = {34 + i}\n",
            f"36 - 4 = {32 if right else 29 + i}\n",
        ]
        for depth, text in enumerate([*steps, f"Answer: {32 if right else 29 + i}"]):
            drift = (0.12 if right else -0.15) * depth
            value = Score(float(np.clip(0.55 + drift + rng.normal(0, 0.07), 0.01, 0.99)), spread=0.06)
            if i == 5 and depth == 2:
                value = Score.absent("the verifier timed out")
            node = node.add(Node(text, token_ids=[2] * 7, logprobs=[-0.02] * 7, scores={"value": value}))
            if i in (1, 3):
                put_stream(node, TOKEN_ENDS, [2, 4, 6, 7, 9, 11, len(text)])
                put_stream(node, "value", np.clip(0.6 + drift + rng.normal(0, 0.1, 7), 0, 1))
                put_stream(node, "advantage", rng.normal(drift, 0.1, 7))
        node.stop = "length" if i == 7 else "eos"
        node.scores["correct"] = Score(float(right))
        chosen = node if i == 3 else chosen
    return ShownTree(Tree(root, "arithmetic-17", {"answer": "32"}), chosen=[chosen], title="arithmetic-17 · best of 8")


def beam_tree() -> ShownTree:
    rng = np.random.default_rng(4)
    root = Node(
        "Lina has 3 boxes with 12 pencils each and gives away a quarter of them. How many are left?\n", "prompt"
    )
    front = [root]
    for depth in range(5):
        grown = []
        for node in front:
            for k in range(4):
                value = float(np.clip((node.value("value") or 0.5) + rng.normal(0.03, 0.13), 0.02, 0.98))
                text = f"Step {depth + 1}, way {k + 1}: 3 boxes of 12 pencils are 36, and a quarter of these is 9.\n"
                meta = {"visits": 9 - k, "round": 3 * depth}
                grown.append(node.add(Node(text, token_ids=[3] * 21, scores={"value": Score(value)}, meta=meta)))
        front = sorted(grown, key=lambda node: -(node.value("value") or 0))[:3]
    for node in front:
        node.stop = "eos"
        node.text = "Answer: 27"
        node.scores["correct"] = Score(1.0)
    front[-1].add(Node(HOSTILE, "critic", scores={"value": Score(0.3), "correct": Score(0.0)}))
    return ShownTree(
        Tree(root, "gsm8k-204", {"answer": "27"}), chosen=[front[0]], title="gsm8k-204 · value-guided beam"
    )


def training(steps: int, seed: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        decay = math.exp(-3 * step / steps)
        row = {
            "step": step,
            "loss": 0.3 + 2 * decay + rng.normal(0, 0.06),
            "lr": 3e-4 * (1 - step / steps),
            "grad_norm": 0.5 + decay,
        }
        row |= {"approx_kl": 0.01 + 0.004 * rng.random(), "clip_fraction": 0.1 * rng.random()}
        if step % 10 == 0:
            row |= {"reward": 0.45 + 0.3 * (1 - decay) + rng.normal(0, 0.02), "entropy": 0.4 + 0.3 * decay}
        if step == steps // 2:
            row["loss"] = float("nan")
        rows.append(row)
    return rows


@pytest.fixture(scope="session")
def report() -> Report:
    return sample()


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


def sample() -> Report:
    tokens = [42.0, 84.0, 168.0, 336.0]
    curves = [
        curve("greedy", [21.0], [0.412]),
        curve("majority", tokens, [0.43, 0.47, 0.53, 0.562]),
        curve("best of n by value", tokens, [0.45, 0.51, 0.575, 0.601]),
        curve("value-weighted vote", tokens, [0.45, 0.52, 0.59, 0.634]),
        curve("value-guided beam", [60.0, 120.0, 240.0, 350.0], [0.48, 0.55, 0.61, 0.648]),
    ]
    rows = [
        Row("greedy", about(0.412, 0.055), 21.3, 0, 4.1),
        Row("majority@8", about(0.562, 0.055), 170.4, 0, 21.9),
        Row("best of 8 by value", about(0.601, 0.054), 170.4, 214.0, 25.2),
        Row("value-weighted vote@8", about(0.634, 0.053), 170.4, 214.0, 25.2),
        Row("value-guided beam", about(0.648, 0.053), 172.8, 398.1, 38.4),
        Row("greedy after PPO", about(0.671, 0.052), 20.8, 0, 4.0),
    ]
    differences = [
        Difference("majority@8 - greedy", about(0.15, 0.041)),
        Difference("value-weighted vote@8 - majority@8", about(0.072, 0.031)),
        Difference("value-guided beam - value-weighted vote@8", about(0.014, 0.029)),
        Difference("greedy after PPO - greedy", about(0.259, 0.048)),
    ]
    bins = [
        Bin(
            0.05 + 0.1 * i,
            about(min(0.96, max(0.04, (0.05 + 0.1 * i) ** 1.25)), 0.03 + 0.02 * (i % 3)),
            120 + 90 * abs(i - 5),
        )
        for i in range(10)
    ]
    n = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    return Report(
        title="demo-arithmetic",
        summary="A model of 0.8 M parameters learned arithmetic from 2,000 worked solutions; with a value model to "
        "guide it, eight samples a problem answer 63.4 % [58.1, 68.7] of 320 held-out problems, "
        "22.2 points [17.1, 27.3] more than greedy.",
        facts={"seed": "0", "wall time": "5 min 12 s", "problems": "320", "espalier": "0.1.0", "torch": "2.13.0"},
        rows=rows,
        differences=differences,
        curves=curves,
        training={"supervised": training(400, 0), "ppo": training(60, 1)},
        metrics=METRICS,
        reliability=[Reliability("value", about(0.842, 0.014), about(0.637, 0.018), 0.041, bins)],
        overoptimisation=[
            Overoptimisation(
                "value",
                curve("proxy: value of the answer picked", n, [0.47, 0.6, 0.7, 0.78, 0.84, 0.88], 0.015),
                curve("true: share of them correct", n, [0.43, 0.51, 0.575, 0.601, 0.61, 0.6]),
            )
        ],
        trees=[best_of_n_tree(), beam_tree()],
        settings='[recipe]\nname = "ppo"\nclip = 0.2\n\n[training]\nsteps = 60\nlr = 3e-4\nseed = 0\n',
    )


if __name__ == "__main__":
    print(write_html(sample(), sys.argv[1]))
