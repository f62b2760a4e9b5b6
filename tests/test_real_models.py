"""Folders that plain `transformers` wrote go through the whole of Espalier and come back as plain folders.

Small models with the architecture and the tokenizer class of their family, on questions and solutions of GSM8K.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerBase,
    Qwen2Tokenizer,
)

from espalier.engines import LocalEngine
from espalier.engines.base import Sampling
from espalier.errors import ContextLengthError
from espalier.models import Model, load, pack, train_tokenizer
from espalier.models.tokens import encode
from espalier.scorers import NumericMatch, ValueScorer
from espalier.search import MajorityVote, Sample, StepBeam
from espalier.training import SFT, Training, train
from espalier.trees import Forest, Node, Tree, read

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
CONFIGS = {
    "qwen2": SMALL,
    "llama": SMALL,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
}
OWN = {"qwen2": Qwen2Tokenizer, "gpt2": GPT2Tokenizer}


@pytest.fixture(scope="module")
def solutions(gsm8k: Path) -> Forest:
    return read(gsm8k / "train.jsonl")[:32]


@pytest.fixture
def forest(solutions: Forest) -> Forest:
    """Untouched by other tests: training puts its model's token ids on the trees."""
    return Forest([tree.copy() for tree in solutions])


def family_tokenizer(family: str, texts: list[str]) -> PreTrainedTokenizerBase:
    """A tokenizer of the class that AutoTokenizer gives the family; llama 3 has a plain byte-level one."""
    trained = train_tokenizer(texts, vocab_size=600)
    if family not in OWN:
        return trained
    start = {"<|endoftext|>": 0}
    return OWN[family](vocab=start, merges=[]).train_new_from_iterator(texts, 600)


@pytest.fixture(scope="module", params=list(CONFIGS))
def folder(request, solutions: Forest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which nothing is Espalier's."""
    family, path = request.param, tmp_path_factory.mktemp(request.param)
    tokenizer = family_tokenizer(family, [node.text for node in solutions.nodes()])
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.1,
        **CONFIGS[family],
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def response_logprobs(model: Model, forest: Forest) -> torch.Tensor:
    """Of each response, summed, by Espalier's packed pass."""
    trees = [tree.copy() for tree in forest]
    encode(trees, model.tokenizer)
    packed = pack(trees)
    with torch.no_grad():
        return packed.leaf_sums(model(packed).logprobs)


@torch.no_grad()
def plain_logprobs(folder: Path, forest: Forest) -> torch.Tensor:
    """The same by `transformers` alone, one response at a time."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    sums = []
    for tree in forest:
        prompt = tokenizer(tree.prompt).input_ids
        for leaf in tree.leaves():
            response = [*tokenizer(leaf.text).input_ids, tokenizer.eos_token_id]
            ids = torch.tensor([prompt + response])
            logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            sums.append(logprobs.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum())
    return torch.stack(sums)


def test_a_plain_folder_is_trained_sampled_searched_and_saved_as_a_plain_folder(folder, forest, tmp_path):
    model = load(folder)
    before = response_logprobs(model, forest)
    torch.testing.assert_close(before, plain_logprobs(folder, forest), atol=2e-3, rtol=1e-5)

    run = train(SFT(), model, forest, Training(steps=3, batch_size=16, lr=3e-3), out=tmp_path / "sft")
    after = response_logprobs(run.model, forest)
    assert after.mean() > before.mean()
    torch.testing.assert_close(after, plain_logprobs(run.folder / "model", forest), atol=2e-3, rtol=1e-5)

    policy = load(run.folder / "model", head="value")
    engine, problems = LocalEngine(policy), forest[:4]
    sampling = Sampling(max_tokens=16, seed=1)
    sampled = Sample(3, sampling).search(problems.prompts(), engine).forest
    assert [len(tree.leaves()) for tree in sampled] == [3] * 4
    again = [node.logprobs for node in sampled.leaves()]
    packed = pack(list(sampled))
    with torch.no_grad():
        replayed = policy(packed).logprobs
    torch.testing.assert_close(replayed, torch.tensor([x for row in again for x in row]), atol=2e-4, rtol=1e-4)
    NumericMatch().score(sampled)
    assert all("correct" in leaf.scores for leaf in sampled.leaves())

    voted = MajorityVote(4, sampling).search(problems.prompts(), engine)
    assert len(voted.answers) == 4
    assert voted.ledger.generated > 0
    beam = StepBeam(2, 2, sampling, max_steps=2).search(problems.prompts(), engine, ValueScorer(policy))
    assert all(step.value("value") is not None for step in beam.forest.nodes() if step.parent)
    assert beam.ledger.scored > 0

    policy.save(tmp_path / "value", "value")
    assert list(load(tmp_path / "value").heads) == ["value"]


def test_the_tokenizer_is_the_familys_own_and_loses_no_text_of_gsm8k(folder, gsm8k):
    tokenizer = load(folder).tokenizer
    plain = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer) is type(plain)
    for tree in islice(read(gsm8k / "train.jsonl"), 200):
        for node in tree.walk():
            ids = tokenizer(node.text).input_ids
            assert ids == plain(node.text).input_ids
            assert tokenizer.decode(ids) == node.text


def test_a_prompt_longer_than_the_context_stops_training_and_names_its_tree(folder, forest, tmp_path):
    root = Node("How many clips? " * 300, "prompt")
    root.add(Node("48", stop="eos"))
    trees = Forest([*forest[:3], Tree(root, "gsm-long")])
    with pytest.raises(ContextLengthError, match=r"'gsm-long'.* tokens, the model's context 512"):
        train(SFT(), load(folder), trees, Training(steps=1, batch_size=4), out=tmp_path / "long")
