"""Pure functions on tensors, one value an item; `reduce` alone owns the denominators."""

from espalier.losses.advantages import (
    Gae,
    Grouped,
    decoupled_gae,
    gae,
    group,
    leave_one_out,
    length_adaptive,
)
from espalier.losses.categorical import Support, cross_entropy, expected_value, hl_gauss, project, two_hot
from espalier.losses.divergences import k1, k2, k3, kl, kl_of_choice
from espalier.losses.dueling import conservative_backup, dueling, recovered_rewards
from espalier.losses.implicit import outcome_ce, token_rewards
from espalier.losses.matching import f_sft
from espalier.losses.oreo import Oreo, oreo
from espalier.losses.policy import clipped, ppo_clip, reinforce
from espalier.losses.preference import dpo, logistic, margin
from espalier.losses.reduce import Term, Unit, Weights, reduce, totals
from espalier.losses.reward import bradley_terry
from espalier.losses.supervised import coverage, nll
from espalier.losses.value import bce, clipped_mse, mse

__all__ = [
    "Gae",
    "Grouped",
    "Oreo",
    "Support",
    "Term",
    "Unit",
    "Weights",
    "bce",
    "bradley_terry",
    "clipped",
    "clipped_mse",
    "conservative_backup",
    "coverage",
    "cross_entropy",
    "decoupled_gae",
    "dpo",
    "dueling",
    "expected_value",
    "f_sft",
    "gae",
    "group",
    "hl_gauss",
    "k1",
    "k2",
    "k3",
    "kl",
    "kl_of_choice",
    "leave_one_out",
    "length_adaptive",
    "logistic",
    "margin",
    "mse",
    "nll",
    "oreo",
    "outcome_ce",
    "ppo_clip",
    "project",
    "recovered_rewards",
    "reduce",
    "reinforce",
    "token_rewards",
    "totals",
    "two_hot",
]
