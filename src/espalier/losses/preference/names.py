"""Losses of pairs by name: what a trainer can offer when all it knows of a pair is the pair itself.

The tensor arguments of these losses are named `chosen_` or `rejected_` and then `logratio`, `logprob`, `mean_logprob`
or `tokens`; every other argument is a setting, a number. So a trainer makes the tensors, and a loss takes its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from espalier.losses.preference.core import Pairs
from espalier.losses.preference.pairwise import (
    asymmetric_dpo,
    cdpo,
    discopop,
    dpo,
    dpo_shift,
    exo,
    hinge_dpo,
    ipo,
    iterative_rpo,
    ln_dpo,
    r_dpo,
    robust_dpo,
    rpo,
)
from espalier.losses.preference.reference_free import alphapo, cpo, orpo, simpo
from espalier.losses.preference.unpaired import apo_down, nca

PAIRWISE: dict[str, Callable[..., Pairs]] = {
    loss.__name__: loss
    for loss in (
        *(dpo, cdpo, robust_dpo, ipo, hinge_dpo, exo, discopop, ln_dpo, r_dpo, dpo_shift, asymmetric_dpo),
        *(rpo, iterative_rpo, apo_down, nca, cpo, simpo, alphapo, orpo),
    )
}


def tensors(name: str) -> set[str]:
    """The tensors that a loss takes: it needs a reference where one of them ends in `logratio`.

    Raises:
        ValueError: there is no such loss.
    """
    return {argument for argument in _arguments(name) if argument.startswith(("chosen_", "rejected_"))}


def settings(name: str) -> set[str]:
    """The numbers that a loss takes beside its tensors, those with a default among them.

    Raises:
        ValueError: there is no such loss.
    """
    return _arguments(name).keys() - tensors(name)


def named(name: str, pairs: Mapping[str, Pairs], values: Mapping[str, float]) -> Pairs:
    """The loss of that name, of those of the pairs' tensors that it takes, under these settings.

    Raises:
        ValueError: there is no such loss, it lacks a setting, or it has no setting of some name.
    """
    arguments, possible = _arguments(name), settings(name)
    missing = {key for key in possible - values.keys() if arguments[key].default is inspect.Parameter.empty}
    if missing or values.keys() - possible:
        raise ValueError(
            f"the settings of {name} are {', '.join(sorted(possible)) or 'none'}; "
            f"found {', '.join(sorted(values)) or 'none'}"
            + (f", without {', '.join(sorted(missing))}" if missing else "")
        )
    return PAIRWISE[name](**{key: pairs[key] for key in tensors(name)}, **values)


def _arguments(name: str) -> Mapping[str, inspect.Parameter]:
    if name not in PAIRWISE:
        raise ValueError(f"there is no pairwise loss {name!r}; there are {', '.join(PAIRWISE)}")
    return inspect.signature(PAIRWISE[name]).parameters
