"""Models from a folder, from the hub, or from a bare config: safetensors only, and no remote code."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from espalier.errors import ModelError
from espalier.models.heads import DEFAULT_LINKS, SCORERS, HeadName, head_attribute, outputs, read_link
from espalier.models.model import Model
from espalier.models.quiet import no_bars
from espalier.models.tokenizers import read_tokenizer

HEADS_FILE = "heads.safetensors"
_ENDINGS = {"ForSequenceClassification": "reward", "ForTokenClassification": "value"}


def from_config(
    config: dict[str, Any] | PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int = 0,
    head: HeadName | None = None,
) -> Model:
    """A causal language model with fresh weights, in evaluation mode.

    Args:
        config: such as `{"model_type": "qwen2", "hidden_size": 128, "num_hidden_layers": 4, ...}`. The size of the
            vocabulary and the special tokens come from the tokenizer.
        seed: of the weights; torch's own generator is left as it was.
        head: also a fresh head with its usual link: value a probability, reward a real number.

    Raises:
        ModelError: an unknown model type or key, or a vocabulary smaller than the tokenizer's.
    """
    if isinstance(config, dict):
        config = _checked_config(config, tokenizer)
    text = config.get_text_config()
    if text.vocab_size < len(tokenizer):
        raise ModelError(f"vocab_size is {text.vocab_size}, but the tokenizer has {len(tokenizer)} tokens")
    text.bos_token_id, text.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    text.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return _with_head(Model(hf, tokenizer), head)


def load(
    path: str | Path,
    *,
    head: HeadName | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Model:
    """A model and its tokenizer from a folder or a hub id, in evaluation mode.

    Heads that were saved come back: those of a reward or value model, or those beside a causal model.

    Args:
        head: add a fresh head of this name, with its usual link, where the checkpoint has none.

    Raises:
        ModelError: no such folder, no safetensors, a config or tokenizer that is missing, weights that do not fit the
            config, remote code needed, or more than one label.
    """
    where = _checked_place(path)
    config = _read(AutoConfig.from_pretrained, where, "config", trust_remote_code=False)
    tokenizer = _read(read_tokenizer, where, "tokenizer")
    kind = next((k for a in config.architectures or () for e, k in _ENDINGS.items() if a.endswith(e)), "causal")
    found = (getattr(config, "espalier", None) or {}).get("heads", {})
    links = {name: read_link(link) for name, link in found.items()}
    if kind != "causal" and config.num_labels != (labels := outputs(links.get(kind, DEFAULT_LINKS[kind]))):
        raise ModelError(f"{where}: a scorer with {config.num_labels} labels; expected {labels}")
    hf, info = _read(
        SCORERS.get(kind, AutoModelForCausalLM).from_pretrained,
        where,
        "weights",
        config=config,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        raise ModelError(
            f"{where}: {len(info['missing_keys'])} weights of {type(hf).__name__} are not in the checkpoint, "
            f"the first {sorted(info['missing_keys'])[0]!r}; is it the folder of another kind of model?"
        )
    if len(tokenizer) > hf.get_input_embeddings().num_embeddings:
        raise ModelError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens, the model only "
            f"{hf.get_input_embeddings().num_embeddings}; tokenizer and weights do not belong together"
        )
    model = Model(hf.to(device), tokenizer)
    if kind != "causal":
        model.heads[kind] = getattr(hf, head_attribute(hf))
        model._links[kind] = links.get(kind, DEFAULT_LINKS[kind])
    elif links:
        weights = _read(_heads, where, "heads")
        for name, link in links.items():
            model.add_head(name, link=link)
        model.heads.load_state_dict(weights)
    return _with_head(model, head)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or hub id, without the model.

    Raises:
        ModelError: no such folder, or no tokenizer in it.
    """
    return _read(read_tokenizer, _checked_place(path), "tokenizer")


def _checked_place(path: str | Path) -> str:
    """A model folder that holds what it must, or what may be a hub id."""
    folder = Path(path)
    if folder.exists():
        _check_folder(folder)
    elif folder.is_absolute() or str(path).startswith((".", "~")) or str(path).count("/") > 1:
        raise ModelError(f"{path}: no such folder; give a Hugging Face model folder or a hub id such as 'org/name'")
    return str(path)


def _with_head(model: Model, head: HeadName | None) -> Model:
    if head is not None and head not in model.heads:
        model.add_head(head, link=DEFAULT_LINKS[head])
    return model.eval()


def _heads(where: str) -> dict[str, torch.Tensor]:
    file = cached_file(where, HEADS_FILE)
    assert file is not None  # cached_file raises where there is none
    return load_file(file)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"{folder} is a file; expected a Hugging Face model folder")
    found = sorted(p.name for p in folder.iterdir())
    listing = ", ".join(found[:12]) or "nothing"
    if "config.json" not in found:
        raise ModelError(f"{folder}: no config.json (found {listing}); expected a folder written by save_pretrained")
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} is not JSON: {error}") from error
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"{folder}: model type {config.get('model_type')!r} needs code of its own, and Espalier runs no remote "
            "code; use a model type that transformers knows"
        )
    if not any(name.endswith(".safetensors") and name != HEADS_FILE for name in found):
        raise ModelError(
            f"{folder}: no .safetensors file (found {listing}); Espalier reads no pickled weights. Convert them with "
            "transformers' save_pretrained where you trust their source"
        )
    if not {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json"} & set(found):
        raise ModelError(f"{folder}: no tokenizer (found {listing}); save it there with tokenizer.save_pretrained")


def _read(reader: Callable[..., Any], where: str, what: str, **options: Any) -> Any:
    """What the reader reads, with whatever goes wrong told as one error and no progress bar."""
    try:
        with no_bars():
            return reader(where, **options)
    except Exception as error:  # transformers, safetensors and the hub raise errors of many families
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{where}: the {what} cannot be loaded: {reason}") from error


def _checked_config(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        near = difflib.get_close_matches(kind, list(CONFIG_MAPPING), n=3)
        raise ModelError(f"unknown model_type {kind!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    default = AutoConfig.for_model(kind)
    known = set(default.to_dict()) | set(default.attribute_map) | {"model_type", "attn_implementation"}
    unknown = sorted(set(config) - known)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(known), n=3)
        raise ModelError(
            f"{kind} has no setting {unknown[0]!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    settings = {"vocab_size": len(tokenizer), **config, **special}
    settings.pop("model_type")
    try:
        return AutoConfig.for_model(kind, **settings)
    except Exception as error:  # each config class checks its values in its own way
        raise ModelError(f"{kind} config: {str(error).strip()}") from error
