"""Differential: wherever TRL has the same loss, its own code and ours agree, values and gradients.

TRL's losses are methods of its trainers; here the trainer is made without `__init__`, and in place of a language model
stands a module whose parameters are the log-probs of the tokens. docs/losses.md says where we differ on purpose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from espalier.losses import preference as p
from espalier.losses.preference import by_rank, core

pytest.importorskip("trl", minversion="1.16", reason="TRL 1.16 is not installed (pip install 'espalier[peers]')")
from accelerate import Accelerator
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

N, LENGTH, BETA = 8, 9, 0.3
D = torch.float64


class Policy(torch.nn.Module):
    """A "language model" whose every completion token has a log-prob of its own; KTO's mismatched pairs have theirs."""

    def __init__(self, dtype: torch.dtype = D) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.mask = torch.arange(LENGTH) < torch.randint(2, LENGTH + 1, (2 * N, 1), generator=g)
        logprobs = torch.rand(2 * N, LENGTH, generator=g, dtype=D) * -2 - 0.05
        self.logprobs = torch.nn.Parameter((logprobs * self.mask).to(dtype))
        self.reference = (logprobs + torch.randn(2 * N, LENGTH, generator=g, dtype=D)).mul(self.mask).sum(-1).to(dtype)
        self.mismatched = torch.randn(2, N, generator=g, dtype=D) + torch.tensor([[0.5], [-0.5]])

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        if len(input_ids) == N:  # the prompts with responses to other prompts
            return SimpleNamespace(
                log_probs=torch.zeros(N, LENGTH, dtype=D).index_add(1, torch.tensor([0]), self.mismatched[0][:, None])
            )
        values = torch.zeros_like(self.logprobs)
        return SimpleNamespace(
            log_probs=self.logprobs * self.mask, entropy=values, mean_logits=values, is_top1=values.bool()
        )

    @property
    def sums(self) -> Tensor:
        return core.total(self.logprobs, self.mask)

    @property
    def tokens(self) -> Tensor:
        return self.mask.sum(-1).to(self.logprobs)

    def inputs(self) -> dict[str, Tensor]:
        """One prompt token before each completion, as TRL's collator has it: first the chosen, then the rejected."""
        completion = torch.cat([torch.zeros(2 * N, 1, dtype=torch.long), self.mask.long()], 1)
        ids = torch.zeros_like(completion)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": completion}


def trainer(cls: type, policy: Policy, **attributes: Any) -> Any:
    made = cls.__new__(cls)
    made.__dict__ |= {
        "model": policy,
        "accelerator": Accelerator(cpu=True),
        "aux_loss_enabled": False,
        "precompute_ref_logps": True,
        "beta": BETA,
        "label_smoothing": 0.0,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
        **attributes,
    }
    return made


def dpo_trainer(policy: Policy, loss_type: str, **attributes: Any) -> Tensor:
    """The loss of TRL's DPO trainer."""
    settings = {
        "loss_types": [loss_type],
        "loss_weights": [1.0],
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
        "ld_alpha": None,
        "use_weighting": False,
        "args": SimpleNamespace(discopop_tau=0.05),
    }
    inputs = policy.inputs() | {"ref_chosen_logps": policy.reference[:N], "ref_rejected_logps": policy.reference[N:]}
    loss: Tensor = trainer(DPOTrainer, policy, **settings | attributes)._compute_loss(policy, inputs, False)
    return loss


def assert_equal(policy: Policy, theirs: Tensor, ours: Tensor, tolerance: float = 1e-6) -> None:
    assert theirs.ndim == ours.ndim == 0
    gradients = [torch.autograd.grad(loss, policy.logprobs, retain_graph=True)[0] for loss in (theirs, ours)]
    assert float(gradients[0].abs().max()) > 1e-3, "a gradient of nothing would show nothing"
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(*gradients[::-1], atol=tolerance, rtol=tolerance)


class Sides:
    """What the losses take, of the chosen (c) and rejected (r) responses."""

    def __init__(self, policy: Policy) -> None:
        ratio = policy.sums - policy.reference
        self.c, self.r = ratio[:N], ratio[N:]
        self.lc, self.lr = policy.sums[:N], policy.sums[N:]
        self.tc, self.tr = policy.tokens[:N], policy.tokens[N:]
        self.reference_margin = policy.reference[:N] - policy.reference[N:]
        self.ratio, self.policy = ratio, policy
        self.liked = torch.arange(2 * N) < N

    def paired(self, responses: Tensor) -> Tensor:
        """TRL's loss of a pair is the sum of its responses' losses."""
        return responses[:N] + responses[N:]


LOSS_TYPES: dict[str, Callable[[Sides], Tensor]] = {
    "sigmoid": lambda s: p.dpo(s.c, s.r, BETA),
    "hinge": lambda s: p.hinge_dpo(s.c, s.r, BETA),
    "ipo": lambda s: p.ipo(s.c / s.tc, s.r / s.tr, BETA),
    "exo_pair": lambda s: p.exo(s.c, s.r, BETA, 0.1),
    "nca_pair": lambda s: p.nca(s.c, s.r, BETA),
    "robust": lambda s: p.robust_dpo(s.c, s.r, BETA, 0.1),
    "bco_pair": lambda s: s.paired(p.bco(s.ratio, s.liked, BETA)),
    "sppo_hard": lambda s: s.paired(p.sppo(s.ratio, s.liked.double(), eta=1 / BETA)),
    "aot": lambda s: p.aot(s.lc - s.lr, s.reference_margin[by_rank(s.lc - s.lr, s.reference_margin)], BETA, 0.1),
    "aot_unpaired": lambda s: p.aot_unpaired(s.c, s.r[by_rank(s.c, s.r)], BETA, 0.1),
    "apo_zero": lambda s: s.paired(p.apo_zero(s.ratio, s.liked, BETA)),
    "apo_down": lambda s: p.apo_down(s.c, s.r, BETA),
    "discopop": lambda s: p.discopop(s.c, s.r, BETA),
    "sft": lambda s: -s.policy.logprobs[:N][s.policy.mask[:N]],
    "sigmoid_norm": lambda s: p.ln_dpo(s.c, s.r, s.tc, s.tr, BETA),
}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_loss_types_of_the_dpo_trainer(loss_type: str) -> None:
    policy = Policy()
    smoothing = 0.1 if loss_type in ("exo_pair", "robust", "aot", "aot_unpaired") else 0.0
    theirs = dpo_trainer(policy, loss_type, label_smoothing=smoothing)
    assert_equal(policy, theirs, LOSS_TYPES[loss_type](Sides(policy)).mean())


def test_no_loss_type_is_left_out() -> None:
    """TRL names its loss types where it refuses an unknown one."""
    with pytest.raises(ValueError, match="Unknown loss type") as refused:
        dpo_trainer(Policy(), "?")
    named = str(refused.value).split("[")[1].split("]")[0].replace("'", "").split(", ")
    assert set(named) == set(LOSS_TYPES)


@pytest.mark.parametrize(
    ("name", "divergence", "dtype"),
    [
        ("forward_kl", core.forward_kl, D),
        ("js_divergence", core.jensen_shannon, D),
        ("alpha_divergence", core.alpha_divergence(0.5), torch.float32),  # TRL: f_alpha_divergence_coef = 1 - alpha
    ],
)
def test_f_divergences(name: str, divergence: core.Divergence, dtype: torch.dtype) -> None:
    """TRL computes the alpha-divergence in single precision only, and refuses double."""
    policy = Policy(dtype)
    s = Sides(policy)
    theirs = dpo_trainer(policy, "sigmoid", f_divergence_type=name)
    assert_equal(policy, theirs, p.f_dpo(s.c, s.r, BETA, divergence).mean(), 1e-6 if dtype == D else 2e-5)


def test_length_desensitised_dpo() -> None:
    policy = Policy()
    shared = torch.minimum(policy.tokens[:N], policy.tokens[N:]).long().repeat(2)
    sums = core.length_desensitised(policy.logprobs, policy.mask, shared, alpha=0.4)
    ratio = sums - policy.reference  # precomputed: TRL has summed the reference already
    theirs = dpo_trainer(policy, "sigmoid", ld_alpha=0.4)
    assert_equal(policy, theirs, p.dpo(ratio[:N], ratio[N:], BETA).mean())


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_loss_types_of_the_kto_trainer(loss_type: str) -> None:
    policy = Policy()
    s = Sides(policy)
    zeros = torch.zeros(N, LENGTH + 1, dtype=torch.long)
    batch = policy.inputs() | {
        "label": s.liked,
        "ref_logps": policy.reference,
        "KL_input_ids": zeros,
        "KL_attention_mask": zeros + 1,
        "KL_completion_mask": zeros + 1,
        "ref_KL_logps": policy.mismatched[1],
    }
    made = trainer(
        KTOTrainer,
        policy,
        loss_type=loss_type,
        calculate_KL=loss_type == "kto",
        desirable_weight=1.3,
        undesirable_weight=0.7,
    )
    theirs = made._compute_loss(policy, batch, False)
    point = p.reference_point(policy.mismatched[0] - policy.mismatched[1])
    assert point > 0
    ours = p.kto(s.ratio, s.liked, point if loss_type == "kto" else 0.0, BETA, 1.3, 0.7)
    assert_equal(policy, theirs, ours.mean())


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo", "simpo", "alphapo"])
def test_loss_types_of_the_cpo_trainer(loss_type: str) -> None:
    """The preference part: TRL adds the likelihood of the chosen response as a mean over the batch's tokens."""
    policy = Policy()
    s = Sides(policy)
    mean = loss_type in ("ipo", "simpo", "alphapo")
    chosen, rejected = (s.lc / s.tc, s.lr / s.tr) if mean else (s.lc, s.lr)
    made = trainer(
        CPOTrainer,
        policy,
        loss_type="simpo" if loss_type == "alphapo" else loss_type,
        simpo_gamma=0.5,
        alpha=0.25 if loss_type == "alphapo" else 0.0,
        label_smoothing=0.0,
    )
    ours = {
        "sigmoid": lambda: p.cpo(chosen, rejected, BETA, alpha=0.0),
        "hinge": lambda: p.hinge_dpo(chosen, rejected, BETA),
        "ipo": lambda: p.ipo(chosen, rejected, BETA),
        "simpo": lambda: p.simpo(chosen, rejected, BETA, 0.5),
        "alphapo": lambda: p.alphapo(chosen, rejected, BETA, 0.5, 0.25),
    }[loss_type]()
    theirs = made.cpo_loss(chosen, rejected)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    assert_equal(policy, theirs.mean(), ours.mean())


def test_the_odds_ratio_of_the_orpo_trainer() -> None:
    """TRL casts to single precision; the likelihood it adds is that of the batch's tokens, the prompt's included."""
    policy = Policy(torch.float32)
    s = Sides(policy)
    chosen, rejected = s.lc / s.tc, s.lr / s.tr
    theirs = -trainer(ORPOTrainer, policy).odds_ratio_loss(chosen, rejected)[0].mean()
    assert_equal(policy, theirs, (p.orpo(chosen, rejected, BETA) + chosen).mean(), 1e-6)
