from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from espalier.audit import MEANING, audit_scorer, judged
from espalier.trees import Forest, Node, Score, Tree

from .forests import Sample, forest_of


def noisy(seed: int = 0, problems: int = 60, link: bool = True) -> Forest:
    """Four answers a problem, scored by their true probability of being right (or its log-odds)."""
    rng = np.random.default_rng(seed)
    forest: list[list[Sample]] = []
    for _ in range(problems):
        probability = rng.random(4)
        score = probability if link else np.log(probability / (1 - probability))
        right = rng.random(4) < probability
        forest.append(
            [("x" * int(rng.integers(5, 50)), {"v": s, "correct": r}) for s, r in zip(score, right, strict=True)]
        )
    return forest_of(forest)


def test_missing_scores_and_labels_are_counted_by_reason() -> None:
    forest = forest_of(
        [
            [("a", {"v": 0.5, "correct": 1}), ("b", {"v": "out of memory", "correct": 1})],
            [("cc", {"correct": 0}), ("dd", {"v": 0.1, "correct": "timed out"}), ("ee", {"v": 0.2, "correct": 0})],
        ]
    )
    data = judged(forest, "v")
    assert data.scores.tolist() == [0.5, 0.2]
    assert data.labels.tolist() == [True, False]
    assert data.lengths.tolist() == [1, 2]
    assert data.missing == {"v: out of memory": 1, "no score 'v'": 1, "correct: timed out": 1}


def test_trees_with_the_same_prompt_are_one_problem() -> None:
    trees = [Tree(Node("same", "prompt"), id=str(i)) for i in range(2)] + [Tree(Node("other", "prompt"), id="2")]
    for tree in trees:
        tree.root.add(Node("a", stop="eos", scores={"v": Score(0.5), "correct": Score(1.0)}))
    assert judged(Forest(trees), "v").problems.tolist() == [0, 0, 1]


def test_a_calibrated_scorer_gets_a_clean_bill() -> None:
    audit = audit_scorer(noisy(), "v")
    assert (audit.answers, audit.problems, audit.missing) == (240, 60, {})
    assert audit.auc is not None
    assert audit.ranking is not None
    assert audit.length_auc is not None
    assert audit.length_correlation is not None
    assert audit.ece is not None
    assert audit.ece_floor is not None
    assert audit.auc.low > 0.7
    assert audit.ranking.low > 0.7
    assert not audit.length_auc.excludes(0.5)
    assert not audit.length_correlation.excludes(0)
    assert audit.ece.estimate < 2 * audit.ece_floor
    assert sum(point.n for point in audit.reliability) == 240


def test_a_reward_has_no_calibration_but_the_same_ranks() -> None:
    probability, reward = audit_scorer(noisy(), "v"), audit_scorer(noisy(link=False), "v")
    assert reward.auc == probability.auc
    assert (reward.brier, reward.ece, reward.accuracy, reward.reliability) == (None, None, None, [])
    assert "brier" not in {row["metric"] for row in reward.table()}


def test_a_forest_with_only_right_answers_has_no_auc_but_an_audit() -> None:
    audit = audit_scorer(forest_of([[("a", {"v": 0.9, "correct": 1})], [("bb", {"v": 0.8, "correct": 1})]]), "v")
    assert (audit.auc, audit.ranking, audit.length_auc) == (None, None, None)
    assert audit.base_rate.estimate == 1.0


def test_the_table_explains_every_row_and_the_audit_becomes_json() -> None:
    audit = audit_scorer(noisy(), "v")
    assert [row["metric"] for row in audit.table()] == list(MEANING)
    assert all(row["meaning"] and row["value"] for row in audit.table())
    assert json.loads(json.dumps(audit.to_dict()))["auc"]["n"] == 60


def test_the_same_seed_gives_the_same_audit() -> None:
    assert audit_scorer(noisy(), "v") == audit_scorer(noisy(), "v")


def test_what_cannot_be_audited_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no response has both the score 'w' and the label 'correct'.*240"):
        audit_scorer(noisy(), "w")
    with pytest.raises(ValueError, match=r"'correct' must be 0 or 1, found 0\.5 in tree 'p0'"):
        audit_scorer(forest_of([[("a", {"v": 1, "correct": 0.5})]]), "v")
    with pytest.raises(ValueError, match="at least 2 problems, found 1"):
        audit_scorer(forest_of([[("a", {"v": 1, "correct": 1})]]), "v")


def test_length_alone_on_the_labelled_solutions_of_gsm8k(gsm8k: Path) -> None:
    """880 questions with four solutions each: shorter is better, by an AUC of 0.637; but only because long solutions
    belong to hard questions. Between solutions of one question length tells next to nothing.
    """
    trees: dict[str, Tree] = {}
    for line in (gsm8k / "model_solutions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tree = trees.setdefault(row["question"], Tree(Node(row["question"], "prompt"), id=str(len(trees))))
        scores = {"correct": Score(float(row["is_correct"])), "short": Score(-float(len(row["solution"])))}
        tree.root.add(Node(row["solution"], stop="eos", scores=scores))
    audit = audit_scorer(Forest(list(trees.values())), "short", resamples=500)
    assert (audit.answers, audit.problems) == (3520, 880)
    assert audit.auc is not None
    assert audit.length_correlation is not None
    assert audit.auc.estimate == pytest.approx(0.637, abs=5e-4)
    assert audit.auc == audit.length_auc
    assert audit.auc.excludes(0.5)
    assert audit.length_correlation.estimate == pytest.approx(-1.0)
    assert audit.ranking is not None
    assert not audit.ranking.excludes(0.5)
