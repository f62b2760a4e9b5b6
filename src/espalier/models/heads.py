"""Scalar heads, in the shape that Hugging Face gives them, so that a trained scorer is an ordinary checkpoint.

A reward model is an `AutoModelForSequenceClassification` with one label, a value model an
`AutoModelForTokenClassification` with one label. Which attribute holds the head and whether it has a bias differ among
model families; both are read off the family's own class.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from espalier.errors import ModelError

HeadName = Literal["value", "reward"]
Link = Literal["probability", "real"]

SCORERS = {"reward": AutoModelForSequenceClassification, "value": AutoModelForTokenClassification}
DEFAULT_LINKS: dict[str, Link] = {"reward": "real", "value": "probability"}


def empty_scorer(config: PreTrainedConfig, name: str) -> PreTrainedModel:
    """The family's own model with one label, without memory for its weights.

    Raises:
        ModelError: transformers has no such class for this family.
    """
    config = copy.deepcopy(config)
    config.num_labels = 1
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
        ModelError: not exactly one linear layer with one output stands outside the trunk.
    """
    found = [
        name
        for name, module in scorer.named_children()
        if isinstance(module, nn.Linear) and module.out_features == 1 and name != scorer.base_model_prefix
    ]
    if len(found) != 1:
        raise ModelError(
            f"{type(scorer).__name__}: found {len(found)} linear heads with one output, expected 1; "
            "only scorers with num_labels=1 and a linear head can be used"
        )
    return found[0]


def new_head(config: PreTrainedConfig, name: str) -> nn.Linear:
    """A head of zeros: value 0 (probability one half) everywhere until it has learnt."""
    try:
        scorer = empty_scorer(config, name)
        bias = getattr(scorer, head_attribute(scorer)).bias is not None
    except ModelError:
        bias = name == "value"
    head = nn.Linear(config.get_text_config().hidden_size, 1, bias=bias)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head
