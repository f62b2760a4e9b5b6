"""Chunked log-probs and entropies against the full table of logits, forward and gradient."""

from functools import partial

import pytest
import torch

from espalier.models import logprobs as module
from espalier.models import pack
from espalier.models.logprobs import LogitRule, logprobs


def full(hidden, ids, weight, bias, rule, top):
    logits = hidden @ weight.t() + (0 if bias is None else bias)
    logits = logits * rule.scale
    if rule.cap is not None:
        logits = rule.cap * torch.tanh(logits / rule.cap)
    table = (logits / rule.temperature).log_softmax(-1)
    return table.gather(1, ids[:, None])[:, 0], -(table.exp() * table).sum(1), tuple(table.topk(top))


@pytest.mark.parametrize(
    "rule", [LogitRule(), LogitRule(0.5), LogitRule(1.0, 3.0), LogitRule(2.0, 4.0, 0.7), LogitRule(temperature=1.6)]
)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("keep", [0, 20, 1000])
def test_values_and_gradients_are_those_of_the_full_table(monkeypatch, rule, biased, keep):
    for name, value in {"ROWS": 3, "TILE": 3 * 4, "KEEP": keep}.items():  # 7 rows by 11 words: uneven ends
        monkeypatch.setattr(module, name, value)
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if biased else None
    ids = torch.tensor([0, 3, 10, 3, 7, 1, 1])
    inputs = [hidden, weight] + ([bias] if biased else [])
    weights, top_weights = torch.randn(2, 7, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    answers = []
    for function in (partial(logprobs, entropy=True, top=5), partial(full, top=5)):
        found, spread, (values, best) = function(hidden, ids, weight, bias, rule)
        loss = (found * weights[0]).sum() + (spread * weights[1]).sum() + (values * top_weights).sum()
        grads = torch.autograd.grad(loss, inputs)
        answers.append((found, spread, values, best, *grads))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("keep", [0, 30])
def test_the_gradient_is_the_slope_by_finite_differences_and_can_be_taken_again(monkeypatch, keep):
    monkeypatch.setattr(module, "TILE", 8)
    monkeypatch.setattr(module, "KEEP", keep)
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4), (6, 4), (6,))]
    ids, rule = torch.tensor([5, 0, 2]), LogitRule(1.5, 2.0, 0.8)

    def function(hidden, weight, bias):
        return logprobs(hidden, ids, weight, bias, rule, entropy=True)[:2]

    assert torch.autograd.gradcheck(function, inputs)
    total = sum(each.sum() for each in function(*inputs))
    first = torch.autograd.grad(total, inputs, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(total, inputs)))


def test_the_best_tokens_of_a_model_are_those_of_its_own_table(build, trees):
    model, packed = build("llama"), pack(trees)
    out = model(packed, logprobs=False, top=3)
    ids = packed.token_ids[: int(packed.end[1])]
    own = model.hf(input_ids=ids[None]).logits[0].log_softmax(-1).topk(3)
    first = int(packed.targets[0])
    torch.testing.assert_close(out.top[0][0], own.values[first - 1], atol=1e-5, rtol=1e-5)
    assert torch.equal(out.top[1][0], own.indices[first - 1])
    assert out.logprobs is None
    with pytest.raises(ValueError, match="found 301"):
        model(packed, top=301)


def test_a_uniform_row_has_log_prob_minus_log_n_and_entropy_log_n():
    found, spread, _ = logprobs(torch.zeros(1, 2), torch.tensor([2]), torch.ones(4, 2), entropy=True)
    assert found.item() == pytest.approx(-torch.tensor(4.0).log().item())
    assert spread.item() == pytest.approx(torch.tensor(4.0).log().item())


def test_a_token_of_probability_zero_leaves_the_entropy_finite():
    weight = torch.tensor([[0.0], [-1e5]], requires_grad=True)
    hidden = torch.ones(1, 1, requires_grad=True)
    _, spread, _ = logprobs(hidden, torch.tensor([0]), weight, entropy=True)
    spread.sum().backward()
    assert spread.item() == 0
    assert hidden.grad.isfinite().all()


@pytest.mark.parametrize("entropy", [False, True])
def test_no_tensor_of_targets_times_vocabulary_is_ever_made_and_what_is_kept_has_a_budget(monkeypatch, entropy):
    for name, value in {"ROWS": 16, "TILE": 16 * 500, "KEEP": 20_000}.items():
        monkeypatch.setattr(module, name, value)
    hidden, weight = torch.randn(64, 4, requires_grad=True), torch.randn(1000, 4, requires_grad=True)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        found, spread, _ = logprobs(hidden, torch.arange(64), weight, entropy=entropy)
        total = found.sum() + (spread.sum() if entropy else 0)
        kept = [each.numel() for each in found.grad_fn.next_functions[0][0].saved_tensors if each is not None]
        total.backward()
    assert largest == 16 * 500
    assert sum(kept) <= 20_000 + hidden.numel() + weight.numel() + 3 * 64


def test_nothing_to_predict_gives_nothing():
    hidden = torch.randn(0, 4, requires_grad=True)
    found, spread, _ = logprobs(hidden, torch.zeros(0, dtype=torch.long), torch.randn(9, 4), entropy=True)
    assert found.shape == spread.shape == (0,)
    found.sum().backward()


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("cohere", {"logit_scale": 0.3}),
        ("granite", {"logits_scaling": 3.0}),
        ("gemma3_text", {"head_dim": 8, "final_logit_softcapping": 2.0}),
    ],
)
def test_a_family_that_changes_its_logits_gets_its_own_log_probs(build, trees, family, settings):
    model = build(family, **settings)
    packed = pack(trees)
    found = model(packed).logprobs
    ids = torch.tensor([token for node in trees[0].leaves()[0].path() for token in node.token_ids])
    own = model.hf(input_ids=ids[None]).logits[0].float().log_softmax(-1)
    first = int(packed.targets[0])
    assert found[0].item() == pytest.approx(own[first - 1, ids[first]].item(), abs=1e-5)


def test_temperature_divides_the_logits_and_must_be_positive(build, trees):
    model, packed = build("llama"), pack(trees)
    ids = packed.token_ids[: int(packed.end[1])]
    own = (model.hf(input_ids=ids[None]).logits[0] / 0.5).log_softmax(-1)
    out = model(packed, temperature=0.5, entropy=True)
    first = int(packed.targets[0])
    assert out.logprobs[0].item() == pytest.approx(own[first - 1, ids[first]].item(), abs=1e-5)
    assert out.entropy[0].item() == pytest.approx(-(own[first - 1].exp() * own[first - 1]).sum().item(), abs=1e-5)
    with pytest.raises(ValueError, match="must be positive, found 0"):
        model(packed, temperature=0.0)
