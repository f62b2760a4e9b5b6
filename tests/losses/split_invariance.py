"""The test that every loss must pass: the gradient does not depend on how the step was cut into micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from espalier.losses import Term, Weights, reduce, totals

Loss = Callable[[Int[Tensor, "rows"]], tuple[Mapping[str, Term], Weights]]


def step(loss: Loss, parameters: Sequence[Tensor], cut: Sequence[Int[Tensor, "rows"]]) -> tuple[float, list[Tensor]]:
    """The loss and gradients of one optimiser step whose rows lie in the micro-batches of `cut`."""
    with torch.no_grad():
        denominators = totals(loss(rows)[1] for rows in cut)
    value = 0.0
    for parameter in parameters:
        parameter.grad = None
    for rows in cut:
        terms, weights = loss(rows)
        share, _ = reduce(terms, weights, denominators)
        share.backward()
        value += float(share.detach())
    return value, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]


def assert_split_invariant(
    loss: Loss, parameters: Sequence[Tensor], rows: int, *, cuts: int = 6, seed: int = 0, tolerance: float = 1e-5
) -> None:
    """Fails if the gradient of a step of `rows` rows differs between one batch and random cuts of the shuffled rows.

    Args:
        loss: from the row numbers of a micro-batch to its terms and weights, by the parameters as they are.
        parameters: leaves that require a gradient.
        rows: how many rows (responses, pairs, trees) the step has.
        cuts: how many random cuts to try, into 2 up to `rows` micro-batches.
        tolerance: largest difference of the gradients' elements, relative to the largest element.
    """
    whole, expected = step(loss, parameters, [torch.arange(rows)])
    size = max(float(gradient.abs().max()) for gradient in expected)
    assert size > 0, "this loss has no gradient here: the test would show nothing"
    generator = torch.Generator().manual_seed(seed)
    for trial in range(cuts):
        shuffled = torch.randperm(rows, generator=generator)
        pieces = rows if trial == 0 else int(torch.randint(2, rows + 1, (1,), generator=generator))
        inside = torch.randperm(rows - 1, generator=generator)[: pieces - 1].sort().values + 1
        cut = list(torch.tensor_split(shuffled, inside))
        value, gradients = step(loss, parameters, cut)
        assert abs(value - whole) <= tolerance * max(1.0, abs(whole)), (
            f"loss {value} in {pieces} pieces, {whole} in one"
        )
        for gradient, whole_gradient in zip(gradients, expected, strict=True):
            difference = float((gradient - whole_gradient).abs().max())
            assert difference <= tolerance * size, f"{pieces} pieces: gradients differ by {difference}, largest {size}"
