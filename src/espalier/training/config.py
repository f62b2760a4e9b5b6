"""Typed settings: every key is known, typed and checked, from Python, TOML or the command line alike."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from espalier.errors import ConfigError

T = TypeVar("T", bound="Strict")


class Strict(BaseModel):
    """A settings record: unknown keys are errors, and the record does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(type(self), error)) from None


class Training(Strict):
    """How the one loop runs, whatever the recipe.

    A *step* of an offline recipe is one optimiser update on `batch_size` trees. A step of an online recipe (GRPO, PPO)
    is one rollout of `batch_size` prompts and the updates made from it.
    """

    steps: int | None = Field(None, ge=1, description="how many steps; or give epochs")
    epochs: float | None = Field(None, gt=0, description="how many passes over the data; or give steps")
    batch_size: int = Field(32, ge=1, description="trees in a step")
    micro_tokens: int = Field(2048, ge=1, description="tokens computed at once; changes speed and memory, not numbers")
    lr: float = Field(1e-4, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    final_lr: float = Field(0.0, ge=0, le=1, description="share of the peak that is left at the end")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay, on matrices only")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's moments")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of matrix products; sums and weights stay fp32. auto: bf16 where the hardware has it"
    )
    seed: int = 0
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="checkpoints that stay on disk")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    def total(self, trees: int) -> int:
        """How many steps the run takes over `trees` trees."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * trees / self.batch_size))


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {where!r}; {kind.__name__} knows {', '.join(kind.model_fields)}")
        else:
            lines.append(f"{where or kind.__name__}: found {problem['input']!r}: {problem['msg']}")
    return "; ".join(lines)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: no such file, or not TOML (with line and column).
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def override(settings: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`settings` with `key.path=value` assignments applied; values are read as TOML, else taken as text.

    >>> override({"training": {"lr": 1e-4}}, ["training.lr=3e-4", "recipe.loss=mse"])
    {'training': {'lr': 0.0003}, 'recipe': {'loss': 'mse'}}
    """
    result: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in settings.items()
    }
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{assignment!r} is not an assignment; write key=value, as in training.lr=3e-4")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        *tables, name = key.strip().split(".")
        table = result
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{key!r}: {part!r} is a value, not a table")
        table[name] = value
    return result


def dump_toml(settings: Mapping[str, Any]) -> str:
    """TOML text; a None is left out, as TOML has no such value."""

    def tidy(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: tidy(item) for key, item in value.items() if item is not None}
        if isinstance(value, list | tuple):
            return [tidy(item) for item in value]
        return value

    return tomli_w.dumps(tidy(settings))
