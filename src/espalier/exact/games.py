"""Equilibria of preferences: the law that no other law is preferred to, also where preferences run in circles.

With general preferences there may be no best string, but the symmetric game in which two laws play strings against
each other always has a von Neumann winner (a Nash equilibrium), which a linear program finds. With a KL penalty of
strength tau to a reference for both players the equilibrium is unique: `law = reference * exp(P law / tau) / Z`, where
`P law` is each string's win rate against the law (Munos et al. 2023, arXiv 2312.00886, section 4).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from espalier.exact.laws import kl, win_rate


def nash(preference: Float[Tensor, "*prompts strings strings"]) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of an equilibrium without regularisation, by linear programming: max v with `law @ P >= v`."""
    strings = preference.shape[-1]
    laws = []
    for matrix in preference.reshape(-1, strings, strings).numpy():
        gain = np.r_[np.zeros(strings), -1.0]
        limits = np.c_[-matrix.T, np.ones(strings)]
        whole = np.r_[np.ones(strings), 0.0][None]
        bounds = [(0, None)] * strings + [(None, None)]
        solved = linprog(gain, limits, np.zeros(strings), whole, [1.0], bounds)
        if solved.x is None:
            raise ArithmeticError(f"the linear program was not solved: {solved.message}")
        law = np.clip(solved.x[:-1], 0, None)
        laws.append(torch.from_numpy(law / law.sum()))
    return torch.stack(laws).log().reshape(preference.shape[:-1])


def exploitability(
    law: Float[Tensor, "*prompts strings"], preference: Float[Tensor, "*prompts strings strings"]
) -> Float[Tensor, "*prompts"]:
    """By how much the best answer to the law beats it, `max_i P(i beats law) - 1/2`; 0 at an equilibrium, else more."""
    return (preference @ law.exp()[..., None])[..., 0].amax(-1) - 0.5


def regularised_nash(
    reference: Float[Tensor, "*prompts strings"],
    preference: Float[Tensor, "*prompts strings strings"],
    tau: float,
    steps: int = 100,
) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of the equilibrium with KL penalties, by Newton's method on the fixed point.

    The Jacobian `I - A S / tau`, with A antisymmetric and S a covariance, is never singular; halved steps make each
    iterate closer than the last.

    Raises:
        ArithmeticError: no convergence to 1e-12 within the steps (a tau far below the differences in preference).
    """
    law, unit = reference.log_softmax(-1), torch.eye(reference.shape[-1], dtype=reference.dtype)

    def error(law: Tensor) -> Tensor:
        return law - (reference + (preference @ law.exp()[..., None])[..., 0] / tau).log_softmax(-1)

    for _ in range(steps):
        wrong = error(law)
        if wrong.abs().max() < 1e-12:
            return law
        p = law.exp()
        covariance = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
        step = torch.linalg.solve(unit - (preference - 0.5) @ covariance / tau, wrong[..., None])[..., 0]
        sizes = torch.ones_like(wrong[..., :1])
        for _ in range(40):
            tried = (law - sizes * step).log_softmax(-1)
            worse = error(tried).norm(dim=-1, keepdim=True) >= wrong.norm(dim=-1, keepdim=True)
            if not worse.any():
                break
            sizes = torch.where(worse, sizes / 2, sizes)
        law = tried
    if (size := error(law).abs().max()) < 1e-9:
        return law
    raise ArithmeticError(f"the equilibrium was not found in {steps} steps: off by {size:.1e} nats at tau={tau}")


def regularised_gap(
    law: Float[Tensor, "*prompts strings"],
    reference: Float[Tensor, "*prompts strings"],
    preference: Float[Tensor, "*prompts strings strings"],
    tau: float,
) -> Float[Tensor, "*prompts"]:
    """The duality gap of playing `law` against itself in the regularised game, in win rate; 0 only at the equilibrium.

    What the best answer gains, `tau * log Z` of the reference tilted by win rates, less what the law itself gets.
    """
    against = (preference @ law.exp()[..., None])[..., 0]
    best = tau * (reference + against / tau).logsumexp(-1)
    return best - (win_rate(law, law, preference) - tau * kl(law, reference))
