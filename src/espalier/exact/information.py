"""What a policy must learn to become another: the differential information, and the pairs that carry it.

Won et al. 2025 (arXiv 2505.23761). Bayes' rule takes the reference to the target by evidence whose likelihood is
`target / reference`; normalised over strings it is the differential information distribution. Pairs whose chosen string
comes from the reference and whose rejected one from `rejected_law` are labelled as if by a Bradley-Terry model with
reward `beta * log(target / reference)`, so that DPO with this beta, and no other score, finds the target.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def differential_information(
    reference: Float[Tensor, "*prompts strings"], target: Float[Tensor, "*prompts strings"]
) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of the distribution proportional to `target / reference`."""
    return (target - reference).log_softmax(-1)


def rejected_law(
    reference: Float[Tensor, "*prompts strings"], target: Float[Tensor, "*prompts strings"], beta: float
) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of the best source of rejected strings, `reference * (reference / target)^beta / Z`."""
    return (reference + beta * (reference - target)).log_softmax(-1)
