"""What is saved loads with plain transformers and gives the same numbers."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from espalier.errors import ModelError
from espalier.losses import Support
from espalier.models import load, pack

pytestmark = pytest.mark.filterwarnings("ignore:for model type 'qwen2'")

CLOSE = {"atol": 5e-5, "rtol": 1e-5}  # merging an adapter rounds each weight once more


def scorer(build, family):
    model = build(family)
    model.add_head("value", link="probability")
    model.add_head("reward", link="real")
    generator = torch.Generator().manual_seed(2)
    for parameter in model.heads.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model


def padded_batch(trees, pad):
    paths = [[t for node in leaf.path() for t in node.token_ids] for tree in trees for leaf in tree.leaves()]
    longest = max(map(len, paths))
    ids = torch.tensor([path + [pad] * (longest - len(path)) for path in paths])
    return ids, (torch.arange(longest) < torch.tensor([len(path) for path in paths])[:, None]).long(), paths


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2"])
@pytest.mark.parametrize("adapted", [False, True])
def test_saved_scorers_give_transformers_the_same_numbers_on_a_padded_batch(build, trees, tmp_path, family, adapted):
    model = scorer(build, family)
    if adapted:
        model.add_lora(rank=2)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(3))
    packed = pack(trees)
    with torch.no_grad():
        ours = model(packed, heads=("reward", "value"), logprobs=False).heads
    ids, mask, paths = padded_batch(trees, model.tokenizer.pad_token_id)

    model.save(tmp_path / "reward", "reward")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    rewards = theirs(input_ids=ids, attention_mask=mask).logits[:, 0]
    torch.testing.assert_close(rewards, ours["reward"][packed.last[packed.leaves]], **CLOSE)

    model.save(tmp_path / "value", "value")
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path / "value")
    values = theirs(input_ids=ids, attention_mask=mask).logits[:, :, 0]
    ends = values[torch.arange(len(paths)), torch.tensor([len(path) - 1 for path in paths])]
    torch.testing.assert_close(ends, ours["value"][packed.last[packed.leaves]], **CLOSE)

    for kind in ("reward", "value"):
        again = load(tmp_path / kind)
        assert list(again.heads) == [kind]
        assert again.link(kind) == model.link(kind)
        found = again(packed, logprobs=False, heads=(kind,)).heads[kind]
        torch.testing.assert_close(found, ours[kind], **CLOSE)
        again.save(tmp_path / "again", kind)
        with pytest.raises(ModelError, match="is a scorer and has no log-probabilities"):
            again(packed)


def test_a_categorical_value_head_is_a_token_classifier_with_a_label_for_each_bin(build, trees, tmp_path):
    model, support = build("qwen2"), Support(-0.5, 1.5, 9)
    model.add_head("value", link=support)
    packed = pack(trees)
    with torch.no_grad():
        assert model(packed, logprobs=False, heads=("value",)).value("value").tolist() == pytest.approx(
            [0.5] * len(packed.token_ids)
        )
        torch.nn.init.normal_(model.heads["value"].weight, std=0.3)
        ours = model(packed, logprobs=False, heads=("value",))
    model.save(tmp_path / "value", "value")
    ids, mask, paths = padded_batch(trees, model.tokenizer.pad_token_id)
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path / "value")
    assert theirs.config.num_labels == 9
    logits = theirs(input_ids=ids, attention_mask=mask).logits
    ends = logits[torch.arange(len(paths)), torch.tensor([len(path) - 1 for path in paths])]
    torch.testing.assert_close(ends, ours.heads["value"][packed.last[packed.leaves]], **CLOSE)
    model.save(tmp_path / "causal")
    for folder in ("value", "causal"):  # by itself, and beside a language model
        again = load(tmp_path / folder)
        assert again.link("value") == support
        found = again(packed, logprobs=False, heads=("value",)).value("value")
        torch.testing.assert_close(found, ours.value("value"), **CLOSE)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_causal_model_with_adapter_and_heads_is_merged_and_keeps_its_heads(build, trees, tmp_path, family):
    model = scorer(build, family)
    model.add_lora(rank=2, alpha=4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(3))
    model.save(tmp_path / "m")
    ids = torch.tensor([[3, 4, 5, 6]])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    torch.testing.assert_close(plain(input_ids=ids).logits, model.hf(input_ids=ids).logits, **CLOSE)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    packed = pack(trees)
    ours, again = (m(packed, heads=("value", "reward")) for m in (model, load(tmp_path / "m")))
    for name in ("value", "reward"):
        torch.testing.assert_close(again.heads[name], ours.heads[name], **CLOSE)


def test_saving_again_replaces_the_folder_and_leaves_nothing_aside(build, tmp_path):
    model = build("llama")
    (tmp_path / "m.tmp").mkdir()
    (tmp_path / "m.tmp" / "stale").write_text("left by a killed write")
    model.save(tmp_path / "m")
    torch.nn.init.zeros_(model.hf.lm_head.weight)
    model.save(tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert not (tmp_path / "m" / "stale").exists()
    assert load(tmp_path / "m").hf.lm_head.weight.eq(0).all()


def test_saving_leaves_the_model_as_it_was(build, trees, tmp_path):
    model, packed = scorer(build, "llama"), pack(trees)
    before = model(packed, heads=("value",))
    config = model.hf.config.to_dict()
    for kind in ("causal", "reward", "value"):
        model.save(tmp_path / kind, kind)
    assert model.hf.config.to_dict() == config
    after = model(packed, heads=("value",))
    assert torch.equal(after.logprobs, before.logprobs)
    assert torch.equal(after.heads["value"], before.heads["value"])


def test_a_head_that_is_not_there_cannot_be_saved(build, tmp_path):
    with pytest.raises(ModelError, match="the model has no reward head"):
        build("llama").save(tmp_path / "m", "reward")
    assert not (tmp_path / "m").exists()


def test_where_auto_tokenizer_would_misread_the_folder_it_is_said_and_load_reads_it_rightly(build, tmp_path):
    model = build("qwen2")
    with pytest.warns(UserWarning, match="AutoTokenizer puts Qwen2Tokenizer in the place"):
        model.save(tmp_path / "m")
    assert load(tmp_path / "m").fingerprint == model.fingerprint
    text = "Natalia sold e\u0301 48 clips"
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path / "m")(text).input_ids == model.tokenizer(text).input_ids
    build("qwen3").save(tmp_path / "q3")
    assert AutoTokenizer.from_pretrained(tmp_path / "q3")(text).input_ids == model.tokenizer(text).input_ids
