"""Folders that load, and what is said about those that cannot."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from espalier.errors import ModelError
from espalier.models import from_config, load, pack


@pytest.fixture
def folder(build, tmp_path):
    path = tmp_path / "model"
    build("llama").save(path)
    return path


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2"])
def test_a_folder_that_transformers_wrote_loads_with_the_same_numbers(build, tokenizer, trees, tmp_path, family):
    model = build(family)
    model.hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.fingerprint == model.fingerprint
    assert again.context_length == 96
    assert not again.training
    packed = pack(trees)
    torch.testing.assert_close(again(packed).logprobs, model(packed).logprobs)


def test_a_fresh_head_is_added_only_where_there_is_none(folder, build, tmp_path):
    model = load(folder, head="value")
    assert model.link("value") == "probability"
    torch.nn.init.ones_(model.heads["value"].weight)
    model.save(tmp_path / "again")
    assert load(tmp_path / "again", head="value").heads["value"].weight.eq(1).all()


def test_dtype_is_that_asked_for(folder):
    assert load(folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def break_nothing(path):
    pass


def only_pickled(path):
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def drop_config(path):
    (path / "config.json").unlink()


def spoil_config(path):
    (path / "config.json").write_text('{"model_type": "llama", ')


def drop_tokenizer(path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()


def remote_code(path):
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "mystery", "auto_map": {"AutoModelForCausalLM": "modeling_mystery.Mystery"}}
    (path / "config.json").write_text(json.dumps(config))


def truncate_weights(path):
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])


def drop_a_weight(path):
    state = load_file(path / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, path / "model.safetensors", {"format": "pt"})


def more_tokens(path):
    config = json.loads((path / "tokenizer.json").read_text())
    config["added_tokens"] += [{**config["added_tokens"][0], "id": 9999, "content": "<more>"}]
    vocab = config["model"]["vocab"]
    vocab |= {f"<more{i}>": len(vocab) + i for i in range(50)}
    (path / "tokenizer.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (only_pickled, r"no \.safetensors file \(found .*pytorch_model\.bin.*reads no pickled weights"),
        (drop_config, r"no config\.json \(found .*model\.safetensors"),
        (spoil_config, r"config\.json is not JSON"),
        (drop_tokenizer, r"no tokenizer \(found .*tokenizer\.save_pretrained"),
        (remote_code, r"'mystery' needs code of its own"),
        (truncate_weights, r"the weights cannot be loaded"),
        (drop_a_weight, r"1 weights of LlamaForCausalLM are not in the checkpoint, the first 'model\.norm\.weight'"),
        (more_tokens, r"tokenizer and weights do not belong together"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_with_what_was_found(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_not_there_or_is_a_file(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        load(tmp_path / "file")


def test_a_classifier_with_several_labels_is_no_scorer(build, tokenizer, tmp_path):
    from transformers import AutoModelForSequenceClassification

    config = AutoConfig.for_model(
        "llama",
        **{
            k: v
            for k, v in build("llama").hf.config.to_dict().items()
            if k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
        },
        num_labels=3,
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="a scorer with 3 labels"):
        load(tmp_path)


def test_from_config_takes_its_vocabulary_from_the_tokenizer_and_its_weights_from_the_seed(tokenizer, build):
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
    state = torch.get_rng_state()
    one, same, other = (from_config(config, tokenizer, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.hf.config.vocab_size == len(tokenizer)
    assert (one.hf.config.eos_token_id, one.hf.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    weights = [model.hf.transformer.wte.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "qwen22"}, "unknown model_type 'qwen22'; did you mean .*qwen2"),
        ({"hidden_size": 8}, "unknown model_type"),
        ({"model_type": "qwen2", "hiden_size": 8}, "qwen2 has no setting 'hiden_size'; did you mean hidden_size"),
        ({"model_type": "qwen2", "vocab_size": 8}, "vocab_size is 8, but the tokenizer has"),
    ],
)
def test_a_config_that_cannot_be_meant_is_an_error(tokenizer, config, message):
    with pytest.raises(ModelError, match=message):
        from_config(config, tokenizer)


def test_a_saved_model_is_a_plain_causal_model_for_transformers(folder, build):
    model = build("llama")
    ids = torch.tensor([[3, 4, 5]])
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(theirs(input_ids=ids).logits, model.hf(input_ids=ids).logits)
