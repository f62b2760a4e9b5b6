"""Preference losses: `core` is the algebra, every named loss a line or two of it; docs/losses.md has the table."""

from collections.abc import Callable

from torch import Tensor

from espalier.losses.preference import core
from espalier.losses.preference.core import logistic, margin
from espalier.losses.preference.general import (
    dno,
    drpo,
    geometric_mixture,
    gpo,
    inpo,
    nash_md,
    online_ipo,
    sppo,
    srpo,
)
from espalier.losses.preference.listwise import plackett_luce, rrhf
from espalier.losses.preference.pairwise import (
    asymmetric_dpo,
    bonbon,
    cdpo,
    degree,
    discopop,
    distilled_dpo,
    dpo,
    dpo_shift,
    exo,
    f_dpo,
    generalised,
    hinge_dpo,
    ipo,
    iterative_rpo,
    ln_dpo,
    odpo,
    r_dpo,
    rationale_dpo,
    reward_scaled_dpo,
    robust_dpo,
    rpo,
    step_dpo,
    vpo,
)
from espalier.losses.preference.reference_free import alphapo, cpo, orpo, simpo, slic
from espalier.losses.preference.transport import aot, aot_unpaired, by_rank
from espalier.losses.preference.unpaired import apo_down, apo_zero, bco, dro, kto, nca, pmpo, reference_point

Loss = Callable[..., Tensor]

PAIRWISE: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (
        *(dpo, cdpo, robust_dpo, ipo, hinge_dpo, exo, discopop, ln_dpo, r_dpo, dpo_shift, asymmetric_dpo),
        *(rpo, iterative_rpo, apo_down, nca, cpo, simpo, alphapo, orpo),
    )
}
"""Losses that a pair's own numbers suffice for, by name: what a trainer of pairs can offer without further inputs.

Their tensor arguments are called `chosen_` or `rejected_` and then `logratio`, `logprob`, `mean_logprob` or `tokens`.
"""

__all__ = [
    "PAIRWISE",
    "Loss",
    "alphapo",
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "asymmetric_dpo",
    "bco",
    "bonbon",
    "by_rank",
    "cdpo",
    "core",
    "cpo",
    "degree",
    "discopop",
    "distilled_dpo",
    "dno",
    "dpo",
    "dpo_shift",
    "dro",
    "drpo",
    "exo",
    "f_dpo",
    "generalised",
    "geometric_mixture",
    "gpo",
    "hinge_dpo",
    "inpo",
    "ipo",
    "iterative_rpo",
    "kto",
    "ln_dpo",
    "logistic",
    "margin",
    "nash_md",
    "nca",
    "odpo",
    "online_ipo",
    "orpo",
    "plackett_luce",
    "pmpo",
    "r_dpo",
    "rationale_dpo",
    "reference_point",
    "reward_scaled_dpo",
    "robust_dpo",
    "rpo",
    "rrhf",
    "simpo",
    "slic",
    "sppo",
    "srpo",
    "step_dpo",
    "vpo",
]
