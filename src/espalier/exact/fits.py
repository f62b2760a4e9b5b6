"""What a preference loss learns from pairs whose labels follow no Bradley-Terry model: its population optimum.

A tabular policy can take any implicit reward `h = beta * log(policy / reference)` up to a constant, so the optimum of a
pairwise loss is the reference tilted by the h that fits the preferences best: by maximum likelihood for DPO (with any
preference, transitive or not), by least squares for IPO. A table `weight[i, j]` says how often i and j are compared.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def logistic_fit(
    preference: Float[Tensor, "*prompts strings strings"], weight: Float[Tensor, "*prompts strings strings"]
) -> Float[Tensor, "*prompts strings"]:
    """The scores of greatest likelihood under `P(i beats j) = sigmoid(h_i - h_j)`, with mean 0, by Newton's method.

    They are the reward itself where the preference is `bradley_terry(reward)`. Every two strings must be linked by
    comparisons that each side sometimes wins (Ford 1957), or there is no maximum.
    """
    compared = _symmetric(weight)
    h = torch.zeros_like(preference[..., 0])
    for _ in range(200):
        expected = torch.sigmoid(h[..., :, None] - h[..., None, :])
        gradient = (compared * (preference - expected)).sum(-1)
        if gradient.abs().max() < 1e-15 * compared.sum():
            break
        step = _solve(compared * expected * (1 - expected), gradient)
        h = h + step / step.abs().amax(-1, keepdim=True).clamp(min=1)
    return h - h.mean(-1, keepdim=True)


def square_fit(
    preference: Float[Tensor, "*prompts strings strings"], weight: Float[Tensor, "*prompts strings strings"]
) -> Float[Tensor, "*prompts strings"]:
    """The scores whose differences are closest to `preference - 1/2` in mean square, with mean 0.

    With `weight` the product of a law with itself, these are the win rates against that law, shifted: IPO's optimum is
    `tilted(reference, square_fit(...), tau)` (Azar et al. 2023, arXiv 2310.12036, theorem 2).
    """
    compared = _symmetric(weight)
    return _solve(compared, (compared * (preference - 0.5)).sum(-1))


def _symmetric(weight: Tensor) -> Tensor:
    both = weight + weight.mT
    return both - torch.diag_embed(both.diagonal(dim1=-2, dim2=-1))


def _solve(edges: Tensor, right: Tensor) -> Tensor:
    """The solution of mean 0 of `Laplacian(edges) h = right`, where the right side adds up to 0."""
    laplacian = torch.diag_embed(edges.sum(-1)) - edges
    size = edges.shape[-1]
    level = laplacian.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]  # fills the null space of constants
    return torch.linalg.solve(laplacian + level / size, right[..., None])[..., 0]
