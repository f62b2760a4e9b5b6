"""Every preference loss, on a bigram language model: whatever the cut into micro-batches, the same gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import pytest
import torch
from torch import Tensor

from espalier.losses import Term, Unit, preference
from espalier.losses.preference import by_rank, core, reference_point

from ..split_invariance import assert_split_invariant
from ..test_split_invariance import ROWS, Bigram

p = preference
LIKED = torch.arange(ROWS) % 3 != 0


class Batch:
    """What losses read of some rows: the response itself (`c`), the next row's (`r`), and stored numbers."""

    def __init__(self, model: Bigram, rows: Tensor) -> None:
        self.model, self.rows, self.next = model, rows, (rows + 1) % ROWS
        stored = torch.rand(4, ROWS, generator=torch.Generator().manual_seed(1))
        self.c, self.r = self.logratio(self.rows), self.logratio(self.next)
        self.lc, self.lr = model.sums(model.policy, self.rows), model.sums(model.policy, self.next)
        self.tc, self.tr = model.mask.sum(-1)[self.rows].float(), model.mask.sum(-1)[self.next].float()
        self.mc, self.mr = self.lc / self.tc, self.lr / self.tr
        self.a, self.b, self.d, self.e = stored[:, rows]
        self.liked = LIKED[rows]

    def logratio(self, rows: Tensor) -> Tensor:
        return self.model.sums(self.model.policy, rows) - self.model.sums(self.model.reference, rows)

    def tokens(self, rows: Tensor) -> Tensor:
        m = self.model
        steps = m.policy.log_softmax(-1) - m.reference.log_softmax(-1)
        return steps[m.previous[rows], m.tokens[rows]]

    @property
    def kl(self) -> Tensor:
        """From the reference's side, at the first state of each response."""
        at = self.model.previous[self.rows, 0]
        q = self.model.reference[at].log_softmax(-1)
        return (q.exp() * (q - self.model.policy[at].log_softmax(-1))).sum(-1)

    @cached_property
    def whole(self) -> Batch:
        """The whole optimiser step: for constants that are computed once a step."""
        with torch.no_grad():
            return Batch(self.model, torch.arange(ROWS))

    def at_rank(self, own: str, other: str) -> Tensor:
        """Which response of the step stands at the rank of each of these."""
        return by_rank(getattr(self.whole, own), getattr(self.whole, other))[self.rows]

    def step_mask(self, rows: Tensor) -> Tensor:
        return self.model.mask[rows] & (torch.arange(9) >= self.model.mask[rows].sum(-1, keepdim=True) // 2)


def lists(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.stack([x, y, z], -1)


EVERY: dict[str, Callable[[Batch], Tensor]] = {
    "dpo": lambda b: p.dpo(b.c, b.r, 0.3),
    "cdpo": lambda b: p.cdpo(b.c, b.r, 0.3, 0.1),
    "robust_dpo": lambda b: p.robust_dpo(b.c, b.r, 0.3, 0.1),
    "ipo": lambda b: p.ipo(b.c, b.r, 0.3),
    "hinge_dpo": lambda b: p.hinge_dpo(b.c, b.r, 0.3),
    "generalised": lambda b: p.generalised(b.c, b.r, 0.3, core.exponential),
    "exo": lambda b: p.exo(b.c, b.r, 0.3, 0.1),
    "discopop": lambda b: p.discopop(b.c, b.r, 0.3),
    "f_dpo": lambda b: p.f_dpo(b.c, b.r, 0.3, core.jensen_shannon),
    "ln_dpo": lambda b: p.ln_dpo(b.c, b.r, b.tc, b.tr, 0.3),
    "r_dpo": lambda b: p.r_dpo(b.c, b.r, b.tc, b.tr, 0.3, 0.05),
    "dpo_shift": lambda b: p.dpo_shift(b.c, b.r, 0.3, 0.7),
    "asymmetric_dpo": lambda b: p.asymmetric_dpo(b.c, b.r, 0.3, 0.1),
    "step_dpo": lambda b: p.step_dpo(b.tokens(b.rows), b.tokens(b.next), b.step_mask(b.rows), b.step_mask(b.next), 0.3),
    "odpo": lambda b: p.odpo(b.c, b.r, b.a, 0.3),
    "reward_scaled_dpo": lambda b: p.reward_scaled_dpo(b.c, b.r, b.a, 0.3, 0.5, 0.5),
    "distilled_dpo": lambda b: p.distilled_dpo(b.c, b.r, b.a, 0.3),
    "bonbon": lambda b: p.bonbon(b.c, b.r, b.lc, 4, 0.1),
    "rpo": lambda b: p.rpo(b.c, b.r, b.lc, 0.3, 0.1),
    "iterative_rpo": lambda b: p.iterative_rpo(b.c, b.r, b.lc, b.tc, 0.3, 0.1),
    "vpo": lambda b: p.vpo(b.c, b.r, b.r, 0.3, -0.1),
    "rationale_dpo": lambda b: p.rationale_dpo(b.c, b.r, b.lr, 0.3, 0.1),
    "degree": lambda b: p.degree(b.model.policy[b.model.previous[b.rows, 0]], b.rows % 7),
    "cpo": lambda b: p.cpo(b.lc, b.lr, 0.3),
    "simpo": lambda b: p.simpo(b.mc, b.mr, 2.0, 0.5),
    "alphapo": lambda b: p.alphapo(b.mc, b.mr, 2.0, 0.5, 0.25),
    "orpo": lambda b: p.orpo(b.mc, b.mr, 0.1),
    "typo": lambda b: p.typo(b.lc, b.lr, b.lr, 0.3),
    "slic": lambda b: p.slic(b.lc, b.lr, b.lc),
    "kto": lambda b: p.kto(b.c, b.liked, reference_point(b.whole.r), 0.3, 1.3),
    "apo_zero": lambda b: p.apo_zero(b.c, b.liked, 0.3),
    "apo_down": lambda b: p.apo_down(b.c, b.r, 0.3),
    "bco": lambda b: p.bco(b.c, b.liked, 0.3, 0.1),
    "nca": lambda b: p.nca(b.c, b.r, 0.3),
    "dro": lambda b: p.dro(b.c, b.a, b.model.values[b.model.previous[b.rows, 0]], 0.3),
    "pmpo": lambda b: p.pmpo(b.lc, b.liked, b.kl, 0.5, 1.0, float(LIKED.float().mean())),
    "plackett_luce": lambda b: p.plackett_luce(lists(b.c, b.r, b.c + b.r), lists(b.a, b.b, b.d) > 0.2),
    "rrhf": lambda b: p.rrhf(
        lists(b.mc, b.mr, b.mc + b.mr), lists(b.lc, b.lr, b.lc), lists(b.a, b.b, b.d), lists(b.a, b.b, b.d) > 0
    ),
    "aot": lambda b: p.aot(b.lc - b.lr, b.whole.e[b.at_rank("lc", "e")], 0.3, 0.1),
    "aot_unpaired": lambda b: p.aot_unpaired(b.c, 2 * b.logratio((b.at_rank("c", "r") + 1) % ROWS), 0.3),
    "sami": lambda b: p.sami(
        torch.stack([lists(b.mc, b.mr, b.mc), lists(b.mr, b.mc, b.mr), lists(b.mc, b.mc, b.a)], 1)
    ),
    "online_ipo": lambda b: p.online_ipo(b.c, b.r, b.a, 0.3),
    "geometric_mixture": lambda b: p.geometric_mixture(
        b.model.policy[b.model.previous[b.rows, 0]], b.model.reference[b.model.previous[b.rows, 0]], 0.3
    )[:, 0],
    "nash_md": lambda b: p.nash_md(b.lc, b.c, b.a, 0.3),
    "dno": lambda b: p.dno(b.c, b.r, b.a, b.b, 0.3),
    "sppo": lambda b: p.sppo(b.c, b.a, 4.0),
    "gpo": lambda b: p.gpo(b.c, b.a, 0.3),
    "inpo": lambda b: p.inpo(b.c, b.r, b.c + b.a, b.r + b.b, 0.1, 0.3),
    "srpo": lambda b: p.srpo(b.c, b.r, torch.stack([b.c, b.r, b.r, b.c], -1).unflatten(-1, (2, 2)), b.a, 0.3, 0.4),
    "drpo": lambda b: p.drpo(
        torch.stack([b.c, b.r], -1),
        torch.tensor([1.0, 0.0]).expand(len(b.rows), 2),
        torch.stack([b.a, 1 - b.a], -1),
        torch.stack([b.b, b.d], -1) * b.lc.exp()[:, None],
        clip=2.0,
    ),
}
NOT_LOSSES = {"PAIRWISE", "by_rank", "core", "logistic", "margin", "named", "reference_point", "settings", "tensors"}


def test_no_loss_is_left_out() -> None:
    assert set(EVERY) == set(preference.__all__) - NOT_LOSSES


@pytest.mark.parametrize("name", EVERY)
def test_gradient_does_not_depend_on_the_cut(name: str) -> None:
    model = Bigram()

    def terms(rows: Tensor) -> tuple[dict[str, Term], dict[Unit, Tensor]]:
        values = EVERY[name](Batch(model, rows))
        assert values.shape == rows.shape
        return {name: Term(values, "pair")}, {"pair": 1 + rows / ROWS}

    assert_split_invariant(terms, [model.policy, model.values], ROWS, cuts=3)


def test_ranks_within_a_micro_batch_would_be_seen() -> None:
    """AOT as a trainer that sorts each micro-batch has it: another cut, another gradient."""
    model = Bigram()

    def terms(rows: Tensor) -> tuple[dict[str, Term], dict[Unit, Tensor]]:
        b = Batch(model, rows)
        values = p.aot_unpaired(b.c, 2 * b.r[by_rank(b.c.detach(), b.r.detach())], 0.3)
        return {"aot": Term(values, "pair")}, {"pair": 1 + rows / ROWS}

    with pytest.raises(AssertionError, match="pieces"):
        assert_split_invariant(terms, [model.policy], ROWS)
