"""An offline run computes its reference's log-probs once, keeps them, and never takes another's for them."""

from __future__ import annotations

import signal

import pytest
import torch

from espalier.errors import ContextLengthError, TrainingError
from espalier.models import pack
from espalier.scorers import ReferenceLogProbs
from espalier.training import DPO, SFT, Training, train
from espalier.training.loop import Loop, make_optimizer
from espalier.training.prepare import prepare, reference_stream, stored_logprobs
from espalier.training.reference import make_reference
from espalier.trees import Forest, Node, Tree, open_forest, read_stream


def settings(**given):
    return Training(**{"steps": 6, "batch_size": 8, "lr": 3e-3, "seed": 1, "micro_tokens": 200, **given})


class Calls:
    """A progress callback that counts the passes of the reference."""

    def __init__(self, stop_at: int = -1) -> None:
        self.reference, self.stop_at = 0, stop_at

    def __call__(self, done, total, metrics):
        self.reference += "reference" in metrics
        if done == self.stop_at:
            signal.raise_signal(signal.SIGINT)


def fresh(forest: Forest) -> Forest:
    return Forest([tree.copy() for tree in forest])


def test_a_run_with_stored_log_probs_is_the_run_with_a_frozen_copy(tiny, judged, tmp_path):
    run = train(DPO(), tiny(), fresh(judged), settings(), out=tmp_path / "run")
    model, training, recipe = tiny(), settings(precision="fp32"), DPO()
    selected = prepare(recipe.select(fresh(judged)), model)
    reference = make_reference(model, model.copy(), training, 1.0)
    loop = Loop(recipe, model, selected, training, 6, make_optimizer(model, training), reference, None)
    for row in run.metrics:
        assert {k: row[k] for k in row if k != "step"} == pytest.approx(loop.step(row["step"]), abs=1e-5)


def test_the_log_probs_lie_in_the_run_folder_and_no_copy_of_the_policy_does(tiny, judged, tmp_path):
    model, calls = tiny(), Calls()
    start = model.copy()
    train(DPO(), model, judged, settings(), out=tmp_path / "run", progress=calls)
    assert calls.reference > 0
    assert [path.name for path in (tmp_path / "run" / "trees").iterdir()] == ["reference.parquet"]
    assert not list((tmp_path / "run").glob("reference*"))
    kept = open_forest(tmp_path / "run" / "trees" / "reference.parquet")
    assert len(kept) == len(judged)
    (name,) = {name for node in kept.nodes() for name in node.streams}
    packed = pack(kept[:4])
    torch.testing.assert_close(stored_logprobs(packed, name), start(packed).logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("lora", [False, True])
def test_a_forest_that_carries_the_log_probs_costs_no_pass(tiny, judged, tmp_path, lora):
    ReferenceLogProbs(tiny()).score(judged)
    judged.write(tmp_path / "annotated")
    model, calls = tiny(), Calls()
    if lora:
        model.add_lora(rank=2)
    run = train(DPO(), model, open_forest(tmp_path / "annotated"), settings(), out=tmp_path / "run", progress=calls)
    assert calls.reference == 0
    assert run.metrics[0]["dpo"] == pytest.approx(0.693147, abs=1e-5)


def test_a_resumed_run_reads_the_log_probs_back_and_repeats_the_bits(tiny, judged, tmp_path):
    training = settings(checkpoint_every=2)
    whole = train(DPO(), tiny(), fresh(judged), training, out=tmp_path / "whole")
    stopped = train(DPO(), tiny(), fresh(judged), training, out=tmp_path / "broken", progress=Calls(stop_at=3))
    assert not stopped.finished
    assert stopped.steps == 3
    calls = Calls()  # the model in memory is no longer the one that the run began with, and need not be
    resumed = train(DPO(), stopped.model, fresh(judged), training, out=tmp_path / "broken", resume=True, progress=calls)
    assert calls.reference == 0
    assert resumed.metrics == whole.metrics
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))


def test_a_run_that_lost_its_log_probs_is_not_resumed_with_others(tiny, judged, tmp_path):
    training = settings(checkpoint_every=2)
    stopped = train(DPO(), tiny(), fresh(judged), training, out=tmp_path / "run", progress=Calls(stop_at=3))
    (tmp_path / "run" / "trees" / "reference.parquet").unlink()
    with pytest.raises(TrainingError, match="is gone"):
        train(DPO(), stopped.model, fresh(judged), training, out=tmp_path / "run", resume=True)


def test_an_unfinished_reference_pass_goes_on_only_with_the_same_model(tiny, judged, tmp_path):
    def stop(done, of):
        raise KeyboardInterrupt

    model, recipe, training = tiny(), DPO(), settings(precision="fp32")
    forest = prepare(fresh(judged), model)
    with pytest.raises(KeyboardInterrupt):
        reference_stream(recipe, model, forest, training, tmp_path, stop)
    half = sum(bool(node.streams) for node in open_forest(tmp_path / "trees" / "reference.parquet").nodes())
    assert 0 < half < sum(recipe.targets(node) for node in forest.nodes())
    with pytest.raises(TrainingError, match="is not the one that the run began with"):
        reference_stream(recipe, tiny(seed=1), prepare(fresh(judged), model), training, tmp_path)
    other = prepare(fresh(judged), model)
    told: list[tuple[int, int]] = []
    name = reference_stream(recipe, model, other, training, tmp_path, lambda *at: told.append(at))
    assert told[-1][1] < len(other)  # not all of it anew
    assert all(read_stream(node, name) is not None for node in other.nodes() if recipe.targets(node))


def test_any_stream_of_the_forest_can_be_the_reference(tiny, judged, tmp_path):
    ReferenceLogProbs(tiny(seed=5), "teacher").score(judged)
    run = train(DPO(reference="teacher"), tiny(), judged, settings(), out=tmp_path / "run")
    assert abs(run.metrics[0]["dpo"] - 0.693147) > 1e-3
    assert not (tmp_path / "run" / "trees").exists()


def test_log_probs_of_other_tokens_are_refused(tiny, judged, tmp_path):
    with pytest.raises(TrainingError, match="stream 'teacher' is not there"):
        train(DPO(reference="teacher"), tiny(), judged, settings(), out=tmp_path / "a")
    ReferenceLogProbs(tiny(), "teacher").score(judged)
    judged[3].root.token_ids = judged[3].root.token_ids[1:]
    with pytest.raises(TrainingError, match="was computed for other tokens than it has now"):
        train(DPO(reference="teacher"), tiny(), judged, settings(), out=tmp_path / "b")


def test_a_tree_longer_than_the_context_is_named_before_anything_is_trained(tiny, demonstrations, tmp_path):
    long = Tree(Node("1+1=\n", "prompt"), "too-long")
    long.root.add(Node("1" * 300, "human", stop="eos"))
    with pytest.raises(
        ContextLengthError, match=r"tree 'too-long' .* 306 tokens, the model's context 256; so it is with 1 of 25 trees"
    ):
        train(SFT(), tiny(), Forest([*demonstrations, long]), settings(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
