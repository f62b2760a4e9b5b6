"""Espalier: train, search and audit language models on trees of reasoning.

>>> import espalier as esp
>>> forest = esp.Forest([esp.Tree(esp.Node("1+1=", "prompt"))])

Names below are imported when they are first used, so that `import espalier` stays fast and does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    **dict.fromkeys(("Forest", "ForestWriter", "Ledger", "Node", "Prices", "Score", "Tree"), "espalier.trees"),
    **dict.fromkeys(("open_forest", "read"), "espalier.trees"),
    **dict.fromkeys(("Model", "from_config", "load", "train_tokenizer"), "espalier.models"),
    **dict.fromkeys(("Engine", "LocalEngine", "Sampling"), "espalier.engines"),
    **dict.fromkeys(("ExactMatch", "FormatMatch", "MathMatch", "NumericMatch"), "espalier.scorers"),
    **dict.fromkeys(("ImplicitReward", "RewardScorer", "Scorer", "ValueScorer"), "espalier.scorers"),
    **dict.fromkeys(("ImplicitProcess", "Steps"), "espalier.scorers"),
    **dict.fromkeys(("BestOfN", "Found", "Greedy", "MajorityVote", "Sample"), "espalier.search"),
    **dict.fromkeys(("StepBeam", "Strategy", "WeightedVote", "Budget", "Limits"), "espalier.search"),
    **dict.fromkeys(("MCTS", "DiverseTreeSearch", "ParticleFilter", "TreeSampling"), "espalier.search"),
    **dict.fromkeys(("DPO", "GRPO", "PPO", "SFT", "OnlineDPO", "Reward", "Value"), "espalier.training"),
    **dict.fromkeys(("BCoder", "OREO", "Critic", "Implicit", "Process"), "espalier.training"),
    **dict.fromkeys(("Run", "Training", "train"), "espalier.training"),
    **dict.fromkeys(("accuracy", "audit_scorer", "compare", "compare_strategies"), "espalier.audit"),
}

__all__ = sorted(_HOMES)  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'espalier' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
