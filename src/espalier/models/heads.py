"""Heads, in the shape that Hugging Face gives them, so that a trained scorer is an ordinary checkpoint.

A reward model is an `AutoModelForSequenceClassification` with one label, a value model an
`AutoModelForTokenClassification` with one label, or with one for each bin of a categorical head. Which attribute holds
the head and whether it has a bias differ among model families; both are read off the family's own class.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from espalier.errors import ModelError
from espalier.losses import Support, expected_value

HeadName = Literal["value", "reward"]
Link: TypeAlias = Literal["probability", "real"] | Support
"""What a head's output stands for: its sigmoid, itself, or the mean of its softmax over the bins of a support."""

SCORERS = {"reward": AutoModelForSequenceClassification, "value": AutoModelForTokenClassification}
DEFAULT_LINKS: dict[str, Link] = {"reward": "real", "value": "probability"}


def outputs(link: Link) -> int:
    """How many numbers the head has."""
    return link.bins if isinstance(link, Support) else 1


def read_out(raw: Float[Tensor, "*items"] | Float[Tensor, "*items bins"], link: Link) -> Float[Tensor, "*items"]:
    """The value that a head's raw output stands for; gradients flow."""
    if isinstance(link, Support):
        return expected_value(raw, link)
    return raw.sigmoid() if link == "probability" else raw


def written(link: Link) -> str | list[float]:
    """The link as a model's config holds it: a name, or low, high and bins of a support."""
    return [link.low, link.high, link.bins] if isinstance(link, Support) else link


def read_link(found: Any) -> Link:
    """What `written` wrote."""
    return Support(float(found[0]), float(found[1]), int(found[2])) if isinstance(found, list | tuple) else found


def empty_scorer(config: PreTrainedConfig, name: str, labels: int = 1) -> PreTrainedModel:
    """The family's own model with this many labels, without memory for its weights.

    Raises:
        ModelError: transformers has no such class for this family.
    """
    config = copy.deepcopy(config)
    config.num_labels = labels
    try:
        with torch.device("meta"):
            return SCORERS[name].from_config(config)
    except ValueError as error:
        raise ModelError(
            f"transformers has no {SCORERS[name].__name__} for model type {config.model_type!r}, "
            f"so a {name} model of this family cannot be saved; save kind='causal' keeps the head beside the weights"
        ) from error


def head_attribute(scorer: PreTrainedModel) -> str:
    """The attribute of a classification model that holds its head.

    Raises:
        ModelError: not exactly one linear layer with an output for each label stands outside the trunk.
    """
    labels = scorer.config.num_labels
    found = [
        name
        for name, module in scorer.named_children()
        if isinstance(module, nn.Linear) and module.out_features == labels and name != scorer.base_model_prefix
    ]
    if len(found) != 1:
        raise ModelError(
            f"{type(scorer).__name__}: found {len(found)} linear heads with num_labels={labels} outputs, expected 1; "
            "only scorers with a linear head can be used"
        )
    return found[0]


def new_head(config: PreTrainedConfig, name: str, labels: int = 1) -> nn.Linear:
    """A head of zeros: value 0 (probability one half, the middle of a support) everywhere until it has learnt."""
    try:
        scorer = empty_scorer(config, name)
        bias = getattr(scorer, head_attribute(scorer)).bias is not None
    except ModelError:
        bias = name == "value"
    head = nn.Linear(config.get_text_config().hidden_size, labels, bias=bias)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head
