"""What is held between calls: never computed again while it is, and never used when it should not be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from espalier.engines import LocalEngine, Sampling, replay
from espalier.engines.decoding import Decoding
from espalier.models import Model, encode_node, token_path
from espalier.trees import Node, Tree

from .conftest import ids, prompts, tiny, watch

STEPS = Sampling(max_tokens=6, stop=("=", "1"), seed=3)


def grow(engine: LocalEngine, roots: list[Node], sampling: Sampling = STEPS) -> list[list[list[list[int]]]]:
    """A search that goes on from its newest nodes and now and then from an old one; what was drawn in each round."""
    live, drawn = roots, []
    for number in range(4):
        out = engine.extend(live, 3, sampling)
        drawn.append(ids(out))
        for node, new in zip(live, out, strict=True):
            for child in new:
                node.add(child)
        open_ends = [child for new in out for child in new if child.stop != "eos"]
        live = [*open_ends[number::2], roots[0]][:5]
    return drawn


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_search_runs_every_token_of_its_trees_once(family: str, pieces: Any) -> None:
    model = tiny(family, pieces, sharpen=1)
    passes = watch(model)
    for seed in range(10):  # until no two samples begin alike: both would be run
        passes.tokens, engine = 0, LocalEngine(model, batch_size=7)
        roots = prompts("the cat sat on the", "a dog ran. a", "the cat")
        grow(engine, roots, Sampling(max_tokens=5, temperature=2, seed=seed))
        nodes = [node for root in roots for node in Tree(root).walk()]
        texts = [token_path(node, pieces) for node in nodes]
        distinct = {tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)}
        # The third prompt begins the first.
        once = sum(len(encode_node(node, pieces)) for node in nodes if node is not roots[2]) == len(distinct)
        if once:
            break
    assert once
    assert passes.tokens == len(distinct) - sum(node.is_leaf for node in nodes), "a leaf's last token predicts nothing"
    drawn = [node for node in nodes if node.parent]
    assert engine.spent.prefilled == passes.tokens - sum(len(node.token_ids or []) - 1 for node in drawn)


def test_what_is_drawn_in_a_search_is_what_an_engine_without_a_past_draws(model: Model) -> None:
    texts = ("12+3=", "34 + 12 * 46", "12+3")
    expected_roots, roots = prompts(*texts), prompts(*texts)
    expected = grow(LocalEngine(model, memory=0, batch_size=64), expected_roots)
    assert grow(LocalEngine(model, batch_size=5), roots) == expected
    assert replay(model, [Tree(root) for root in roots], 1.0).max_abs < 1e-4


def test_every_log_prob_of_a_search_is_that_of_the_plain_model(model: Model) -> None:
    roots = prompts("12+3=", "12+3")
    grow(LocalEngine(model), roots)
    for root in roots:
        start = model.tokenizer(root.text).input_ids
        for leaf in Tree(root).leaves():
            path = [token for node in leaf.path()[1:] for token in node.token_ids or []]
            with torch.no_grad():
                logits = model.hf(torch.tensor([[*start, *path]]), use_cache=False).logits[0, len(start) - 1 : -1]
            plain = logits.log_softmax(-1).gather(1, torch.tensor(path)[:, None])[:, 0]
            found = torch.tensor([value for node in leaf.path()[1:] for value in node.logprobs or []])
            torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


def test_a_prompt_that_was_sampled_from_is_not_run_again(qwen: Model) -> None:
    engine, sampling = LocalEngine(qwen), Sampling(max_tokens=10, seed=1)
    first = ids(engine.extend(prompts("12+3="), 4, sampling))
    assert engine.spent.prefilled == 5
    passes = watch(qwen)
    assert ids(engine.extend(prompts("12+3="), 4, sampling)) == first
    assert engine.spent.prefilled == 5
    assert passes.tokens == sum(len(tokens) - 1 for tokens in first[0])


def test_prompts_that_begin_alike_run_their_beginning_once(qwen: Model) -> None:
    shots = "12+34=46\n" * 3
    texts = (shots + "1+2=", shots + "1+4=", shots + "0", shots, "0")
    distinct = {text[:end] for text in texts for end in range(1, len(text) + 1)}
    engine = LocalEngine(qwen, batch_size=4)
    out = engine.extend(prompts(*texts), 2, Sampling(max_tokens=5))
    assert engine.spent.prefilled == len(distinct)
    for text, drawn in zip(texts, ids(out), strict=True):
        assert ids(LocalEngine(qwen).extend(prompts(text), 2, Sampling(max_tokens=5))) == [drawn]


@pytest.mark.parametrize("tokens", [0, 40, 90])
def test_a_small_budget_costs_time_and_changes_no_sample(qwen: Model, tokens: int) -> None:
    texts = ("12+3=", "34 + 12 * 46", "12+3")
    expected = grow(LocalEngine(qwen), prompts(*texts))
    large = LocalEngine(qwen)
    grow(large, prompts(*texts))
    each = sum(plane[0].nbytes for plane in large._store.planes.values())
    assert large._store.held > 90
    engine = LocalEngine(qwen, memory=tokens * each / 2**30, batch_size=4)
    for _ in range(2):
        assert grow(engine, prompts(*texts)) == expected
    assert engine._store.held <= tokens
    assert sum(plane.nbytes for plane in engine._store.planes.values()) <= tokens * each
    assert engine.spent.prefilled > large.spent.prefilled


OPTIMISERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.1),
    "foreach": lambda weights: torch.optim.AdamW(weights, lr=0.1, foreach=True),
    "fused": lambda weights: torch.optim.AdamW(weights, lr=0.1, fused=True),
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.5),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_after_an_optimiser_step_the_samples_are_those_of_a_fresh_engine(qwen: Model, name: str) -> None:
    engine, sampling = LocalEngine(qwen), Sampling(max_tokens=10, seed=1)
    before = engine.extend(prompts("12+3=", "7"), 4, sampling)
    optimiser = OPTIMISERS[name](qwen.parameters())
    qwen.hf(torch.tensor([[5, 6, 7, 8]])).logits.logsumexp(-1).sum().backward()
    optimiser.step()
    after = engine.extend(prompts("12+3=", "7"), 4, sampling)
    fresh = LocalEngine(copy.deepcopy(qwen)).extend(prompts("12+3=", "7"), 4, sampling)
    assert ids(after) == ids(fresh)
    assert [node.logprobs for nodes in after for node in nodes] == [node.logprobs for nodes in fresh for node in nodes]
    assert ids(after) != ids(before)
    assert engine.spent.prefilled == 2 * 6


def test_a_replaced_weight_and_a_switched_off_adapter_count_as_other_weights(qwen: Model) -> None:
    qwen.add_lora(rank=2)
    with torch.no_grad():
        for weight in qwen.parameters():
            if weight.requires_grad:
                weight.add_(0.3)
    engine, sampling = LocalEngine(qwen), Sampling(max_tokens=10, seed=1)
    adapted = ids(engine.extend(prompts("12+3="), 4, sampling))
    with qwen.reference():
        assert ids(engine.extend(prompts("12+3="), 4, sampling)) != adapted
    assert ids(engine.extend(prompts("12+3="), 4, sampling)) == adapted
    assert engine.spent.prefilled == 3 * 5
    head = qwen.hf.lm_head
    head.weight = torch.nn.Parameter(-head.weight.detach())
    assert ids(engine.extend(prompts("12+3="), 4, sampling)) != adapted
    engine.forget()
    engine.extend(prompts("12+3="), 4, sampling)
    assert engine.spent.prefilled == 5 * 5


def test_a_call_that_was_broken_off_leaves_nothing_half_done(qwen: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, sampling = LocalEngine(qwen), Sampling(max_tokens=10, seed=1)
    expected = ids(engine.extend(prompts("12+3="), 4, sampling))
    steps = iter(range(3))

    def interrupted(self: Decoding, *args: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return draw(self, *args)

    draw = Decoding._draw
    with monkeypatch.context() as patch:
        patch.setattr(Decoding, "_draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.extend(prompts("12+3=4", "98"), 4, sampling)
    assert ids(engine.extend(prompts("12+3="), 4, sampling)) == expected


@pytest.mark.parametrize("places", [3, 64])
def test_single_rows_go_on_with_what_is_held_and_draw_as_an_engine_without_a_past(model: Model, places: int) -> None:
    """As particles go on: one row a prefix, and one prefix twice."""
    sampling, passes = Sampling(max_tokens=5, stop=("=",), seed=3), watch(model)

    def walk(engine: LocalEngine) -> tuple[list[Node], int]:
        live = roots = prompts("12+3=", "34 + 12 * 46", "12+3", "7")
        held, needed = set[tuple[int, ...]](), 0
        for _ in range(4):
            out = engine.extend(live, 1, sampling)
            for node in live:
                path = token_path(node, model.tokenizer)
                new = {tuple(path[:end]) for end in range(1, len(path) + 1)} - held
                held, needed = held | new, needed + len(new)
            drawn = [node.add(child) for node, (child,) in zip(live, out, strict=True)]
            for path in (token_path(node, model.tokenizer) for node in drawn):
                held |= {tuple(path[:end]) for end in range(1, len(path))}
            live = [node for node in drawn if node.stop != "eos"]
            live += live[:1]
        return roots, needed

    engine = LocalEngine(model, batch_size=places)
    roots, needed = walk(engine)
    assert engine.spent.prefilled == needed
    drawn = [node for root in roots for node in Tree(root).walk() if node.parent]
    assert passes.tokens == needed + sum(len(node.token_ids or []) - 1 for node in drawn)
    assert replay(model, [Tree(root) for root in roots], 1.0).max_abs < 1e-4
    others, _ = walk(LocalEngine(model, memory=0))
    texts = [[node.text for node in Tree(root).walk()] for root in roots]
    assert texts == [[node.text for node in Tree(root).walk()] for root in others]
