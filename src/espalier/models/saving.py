"""A trained model as an ordinary Hugging Face folder, written aside and then renamed."""

from __future__ import annotations

import copy
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from espalier.errors import ModelError
from espalier.models.adapters import merged_state
from espalier.models.heads import empty_scorer, head_attribute, outputs, written
from espalier.models.loading import HEADS_FILE
from espalier.models.quiet import no_bars
from espalier.models.tokenizers import fingerprint

if TYPE_CHECKING:
    from espalier.models.model import Model


def save(model: Model, folder: Path, kind: str = "causal") -> None:
    """Write config, safetensors and tokenizer; an adapter is merged into the weights.

    Args:
        kind: "causal" loads with `AutoModelForCausalLM` and keeps heads in a file of their own, "reward" loads with
            `AutoModelForSequenceClassification`, "value" with `AutoModelForTokenClassification`.

    Raises:
        ModelError: the model lacks that head, is a scorer and no language model, or its family has no such class.
    """
    if kind == "causal":
        if model.hf.get_output_embeddings() is None:
            raise ModelError(f"{type(model.hf).__name__} is a scorer; save it with kind='reward' or kind='value'")
        target, heads = _causal(model.hf), list(model.heads)
    else:
        model.link(kind)
        target, heads = _scorer(model, kind), [kind]
    target.config.espalier = {"heads": {name: written(model.link(name)) for name in heads}}
    aside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with no_bars():
        target.save_pretrained(aside)
    model.tokenizer.save_pretrained(aside)
    if kind == "causal" and heads:
        save_file(
            {name: t.detach().contiguous().cpu() for name, t in model.heads.state_dict().items()}, aside / HEADS_FILE
        )
    _check_tokenizer(model, aside)
    _replace(aside, folder)


def _check_tokenizer(model: Model, aside: Path) -> None:
    """Say where `AutoTokenizer` would not give back the tokenizer that was saved; see `read_tokenizer`."""
    if type(model.tokenizer) is PreTrainedTokenizerFast:
        other = AutoTokenizer.from_pretrained(aside)
        if fingerprint(other) != model.fingerprint:
            warnings.warn(
                f"for model type {model.hf.config.model_type!r}, AutoTokenizer puts {type(other).__name__} in the "
                "place of this folder's tokenizer; espalier.load reads it rightly, other tools need "
                "PreTrainedTokenizerFast (model types qwen3 and llama keep their tokenizer everywhere)",
                stacklevel=4,
            )


def _causal(hf: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):
        target = type(hf)(copy.deepcopy(hf.config))
    target.generation_config = hf.generation_config
    return _filled(target, merged_state(hf))


def _scorer(model: Model, kind: str) -> PreTrainedModel:
    target = empty_scorer(model.hf.config, kind, outputs(model.link(kind)))
    prefix, own = target.base_model_prefix + ".", model.hf.base_model_prefix + "."
    state = {prefix + k.removeprefix(own): t for k, t in merged_state(model.hf).items() if k.startswith(own)}
    name = head_attribute(target)
    state |= {f"{name}.{k}": t.detach() for k, t in model.heads[kind].state_dict().items()}
    target.config.pad_token_id = model.tokenizer.pad_token_id
    return _filled(target, state)


def _filled(target: PreTrainedModel, state: dict[str, Tensor]) -> PreTrainedModel:
    """The target, which has no memory of its own, with these tensors as its weights."""
    target.load_state_dict(state, assign=True)
    target.tie_weights()
    return target


def _replace(aside: Path, folder: Path) -> None:
    if folder.exists():
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old)
    else:
        aside.rename(folder)
