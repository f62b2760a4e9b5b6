"""How to spend inference compute: strategies grow trees, aggregation picks answers from what was grown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from espalier.scorers.consensus import mutual_ranking
from espalier.search.aggregate import (
    Choose,
    Extract,
    Prefix,
    best,
    borda,
    candidates,
    final_answer,
    generated,
    majority,
    prefixes,
    unscored,
    weighted,
)
from espalier.search.base import Found, Strategy
from espalier.search.beam import StepBeam
from espalier.search.best_of_n import BestOfN
from espalier.search.budget import Budget, Limits
from espalier.search.diverse import DiverseTreeSearch
from espalier.search.evolution import Darwin
from espalier.search.glore import Refinement
from espalier.search.guided import TransferQ, ValueGuided
from espalier.search.likelihood import TokenBeam
from espalier.search.mcts import MCTS, fading
from espalier.search.mirror import MirrorDescentSearch
from espalier.search.particles import ParallelTempering, ParticleFilter, ParticleGibbs
from espalier.search.refine import TPO, Aggregate, SelfRefine
from espalier.search.sample import Greedy, Sample
from espalier.search.stopping import Adaptive, Certain, Settled
from espalier.search.tree_sampling import TreeSampling
from espalier.search.vote import BordaVote, MajorityVote, WeightedVote

if TYPE_CHECKING:
    from espalier.search.temperature import AdaptiveTemperature, TemperatureHead, fit_temperature, latent_pairs

__all__ = [
    "MCTS",
    "TPO",
    "Adaptive",
    "AdaptiveTemperature",
    "Aggregate",
    "BestOfN",
    "BordaVote",
    "Budget",
    "Certain",
    "Choose",
    "Darwin",
    "DiverseTreeSearch",
    "Extract",
    "Found",
    "Greedy",
    "Limits",
    "MajorityVote",
    "MirrorDescentSearch",
    "ParallelTempering",
    "ParticleFilter",
    "ParticleGibbs",
    "Prefix",
    "Refinement",
    "Sample",
    "SelfRefine",
    "Settled",
    "StepBeam",
    "Strategy",
    "TemperatureHead",
    "TokenBeam",
    "TransferQ",
    "TreeSampling",
    "ValueGuided",
    "WeightedVote",
    "best",
    "borda",
    "candidates",
    "fading",
    "final_answer",
    "fit_temperature",
    "generated",
    "latent_pairs",
    "majority",
    "mutual_ranking",
    "prefixes",
    "unscored",
    "weighted",
]


def __getattr__(name: str) -> Any:
    if name in ("AdaptiveTemperature", "TemperatureHead", "fit_temperature", "latent_pairs"):  # they load torch
        return getattr(import_module("espalier.search.temperature"), name)
    raise AttributeError(f"module 'espalier.search' has no attribute {name!r}")
