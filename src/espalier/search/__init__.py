"""How to spend inference compute: strategies grow trees, aggregation picks answers from what was grown."""

from espalier.search.aggregate import (
    Choose,
    Extract,
    Prefix,
    best,
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
from espalier.search.sample import Greedy, Sample
from espalier.search.vote import MajorityVote, WeightedVote

__all__ = [
    "BestOfN",
    "Choose",
    "Extract",
    "Found",
    "Greedy",
    "MajorityVote",
    "Prefix",
    "Sample",
    "StepBeam",
    "Strategy",
    "WeightedVote",
    "best",
    "candidates",
    "final_answer",
    "generated",
    "majority",
    "prefixes",
    "unscored",
    "weighted",
]
