"""How to spend inference compute: strategies grow trees, aggregation picks answers from what was grown."""

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
from espalier.search.sample import Greedy, Sample
from espalier.search.vote import BordaVote, MajorityVote, WeightedVote

__all__ = [
    "BestOfN",
    "BordaVote",
    "Budget",
    "Choose",
    "DiverseTreeSearch",
    "Extract",
    "Found",
    "Greedy",
    "Limits",
    "MajorityVote",
    "Prefix",
    "Sample",
    "StepBeam",
    "Strategy",
    "WeightedVote",
    "best",
    "borda",
    "candidates",
    "final_answer",
    "generated",
    "majority",
    "prefixes",
    "unscored",
    "weighted",
]
