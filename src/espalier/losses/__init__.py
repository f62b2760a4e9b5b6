"""Pure functions on tensors, one value an item; `reduce` alone owns the denominators."""

from espalier.losses.advantages import Gae, Grouped, gae, group, leave_one_out
from espalier.losses.divergences import k1, k2, k3, kl
from espalier.losses.policy import clipped, ppo_clip, reinforce
from espalier.losses.preference import dpo, logistic, margin
from espalier.losses.reduce import Term, Unit, Weights, reduce, totals
from espalier.losses.reward import bradley_terry
from espalier.losses.supervised import coverage, nll
from espalier.losses.value import bce, clipped_mse, mse

__all__ = [
    "Gae",
    "Grouped",
    "Term",
    "Unit",
    "Weights",
    "bce",
    "bradley_terry",
    "clipped",
    "clipped_mse",
    "coverage",
    "dpo",
    "gae",
    "group",
    "k1",
    "k2",
    "k3",
    "kl",
    "leave_one_out",
    "logistic",
    "margin",
    "mse",
    "nll",
    "ppo_clip",
    "reduce",
    "reinforce",
    "totals",
]
