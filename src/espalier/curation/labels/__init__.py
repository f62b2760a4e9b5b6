"""Step labels: one service that finishes prefixes (`Completer`, `label_forest`), and the methods that ask it."""

from espalier.curation.labels.completer import Completer, Method, drive, estimate
from espalier.curation.labels.consensus import consensus
from espalier.curation.labels.monte_carlo import MonteCarlo
from espalier.curation.labels.mutate import mutate_and_execute
from espalier.curation.labels.omega import Omega
from espalier.curation.labels.service import label_forest
from espalier.curation.labels.sorm import Sorm, balanced

__all__ = [
    "Completer",
    "Method",
    "MonteCarlo",
    "Omega",
    "Sorm",
    "balanced",
    "consensus",
    "drive",
    "estimate",
    "label_forest",
    "mutate_and_execute",
]
