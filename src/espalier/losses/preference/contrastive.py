"""Principles and the responses written under them: each should tell the other, and no preference label is needed."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def sami(mean_logprob: Float[Tensor, "queries principles responses"]) -> Float[Tensor, "queries"]:
    """SAMI: the cross-entropy of finding each principle's response, and of finding each response's principle.

    Franken et al. 2024 (arXiv 2404.14313). In nats, the mean of the two; `log(principles)` less the second is a lower
    bound on the mutual information of principle and response, given the query. Log-probs a token leave the policy less
    sure of the principle than it is, so training makes it surer; with those of whole responses the gradient of the
    second part is zero in expectation over the policy's own samples.

    Args:
        mean_logprob: the policy's log-prob a token of the response that was sampled under principle j, when it is
            asked to follow principle i; as many responses as principles.
    """
    finds_response = mean_logprob.log_softmax(-1).diagonal(dim1=-2, dim2=-1)
    finds_principle = mean_logprob.log_softmax(-2).diagonal(dim1=-2, dim2=-1)
    return -(finds_response + finds_principle).mean(-1) / 2
