"""What a run is told: model, data, recipe and training, from a TOML file with overrides from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from espalier.errors import ConfigError
from espalier.training.config import Strict, Training
from espalier.trees.formats import Format

if TYPE_CHECKING:
    from espalier.cli.forests import EngineName
    from espalier.engines import LocalEngine, VLLMEngine
    from espalier.models import Model
    from espalier.scorers import Scorer
    from espalier.trees import Forest


class ModelSettings(Strict):
    """Which model to start from: a folder or hub id, or a fresh one made from a config file."""

    path: str | None = Field(None, description="folder or hub id of a causal LM")
    config: str | None = Field(None, description="JSON file of a Hugging Face config; makes a fresh small model")
    tokenizer: Literal["bpe", "char"] = Field("bpe", description="trained on the data, for a fresh model")
    vocab_size: int = Field(4096, ge=260, description="of that tokenizer")
    lora: int = Field(0, ge=0, description="rank of a LoRA adapter; 0 trains all weights")

    def open(self, forest: Forest, seed: int) -> Model:
        """The model; a fresh one's tokenizer is trained on the texts of `forest`.

        Raises:
            ConfigError: neither path nor config, or both, or a config file that is not JSON.
        """
        from espalier.models import from_config, load, train_tokenizer

        if (self.path is None) == (self.config is None):
            raise ConfigError("give either --model (a folder or hub id) or --init (a JSON config for a fresh model)")
        if self.path is not None:
            model = load(self.path)
        else:
            assert self.config is not None
            texts = (node.text for node in forest.nodes())
            tokenizer = train_tokenizer(texts, kind=self.tokenizer, vocab_size=self.vocab_size)
            model = from_config(read_json(self.config), tokenizer, seed=seed)
        if self.lora:
            model.add_lora(rank=self.lora)
        return model


class DataSettings(Strict):
    """Where the rows are and how to read them."""

    path: str
    format: Format | None = Field(None, description="such as prompt/chosen/rejected; found from the columns by default")
    columns: dict[str, str] = Field(default_factory=dict, description="our column names to the file's")
    on_error: Literal["raise", "skip"] = "raise"
    held_out: float = Field(0.0, ge=0, lt=1, description="share of the prompts that is not trained on but audited")

    def open(self, tokenizer: Any = None) -> Forest:
        """The forest; rows that were skipped are listed on standard error."""
        from rich.console import Console

        from espalier.trees import read

        forest = read(
            self.path, format=self.format, columns=self.columns or None, tokenizer=tokenizer, on_error=self.on_error
        )
        if skipped := getattr(forest, "skipped", None):
            console = Console(stderr=True)
            console.print(f"[yellow]skipped {len(skipped)} rows:[/]")
            for error in skipped[:10]:
                console.print(f"  {error}", markup=False, highlight=False, soft_wrap=True)
        return forest


class RunSettings(Strict):
    """A whole run, as `config.toml` holds it."""

    model: ModelSettings
    data: DataSettings
    training: Training
    recipe: dict[str, Any] = Field(default_factory=dict)
    scorer: str | None = Field(None, description="judges the rollouts of an online recipe")


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ConfigError: no such file, or not a JSON object.
    """
    try:
        value = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: found a {type(value).__name__}, expected an object")
    return value


def parse_columns(assignments: list[str]) -> dict[str, str]:
    """`["prompt=question"]` to `{"prompt": "question"}`.

    >>> parse_columns(["prompt=question,completion=solution", "label=is_correct"])
    {'prompt': 'question', 'completion': 'solution', 'label': 'is_correct'}
    """
    columns = {}
    for assignment in ",".join(assignments).split(",") if assignments else []:
        ours, equals, theirs = assignment.partition("=")
        if not equals or not theirs:
            raise ConfigError(f"--columns {assignment!r}: write ours=theirs, as in prompt=question")
        columns[ours.strip()] = theirs.strip()
    return columns


def unescaped(text: str) -> str:
    r"""`\n` as typed to a line break, and the like.

    Raises:
        ConfigError: an escape that is none.
    """
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError as error:
        raise ConfigError(f"--step {text!r}: {error.reason}") from None


def open_engine(kind: EngineName, model: str) -> LocalEngine | VLLMEngine:
    """The engine that writes: in this process, or vLLM.

    Raises:
        EngineError: vLLM is not installed, or could not load the model.
    """
    if kind == "vllm":
        from espalier.engines.vllm import VLLMEngine

        return VLLMEngine(model)
    from espalier.engines.local import LocalEngine
    from espalier.models import load

    return LocalEngine(load(model))


def open_scorer(spec: str) -> Scorer:
    """A scorer by name (exact, numeric, math, arithmetic, format:REGEX), or a saved reward or value model's folder.

    steps:HOW:SCORER makes one score of those that a scorer gives the steps: steps:min:FOLDER of a process model.

    Raises:
        ConfigError: neither a known name nor a folder.
    """
    from espalier.scorers import ExactMatch, FormatMatch, MathMatch, NumericMatch, Steps
    from espalier.worlds.arithmetic import ArithmeticVerifier

    known: Mapping[str, Any] = {
        "exact": ExactMatch,
        "numeric": NumericMatch,
        "math": MathMatch,
        "arithmetic": ArithmeticVerifier,
    }
    if spec in known:
        return known[spec]()
    if spec.startswith("steps:"):
        how, _, inner = spec.removeprefix("steps:").partition(":")
        return Steps(open_scorer(inner), how)  # type: ignore[arg-type]  # which says what there is
    if spec.startswith("format:"):
        return FormatMatch(spec.removeprefix("format:"))
    if not Path(spec).is_dir():
        raise ConfigError(f"scorer {spec!r}: not a folder, and none of {', '.join(known)}, format:REGEX")
    from espalier.models import load
    from espalier.scorers import RewardScorer, ValueScorer

    model = load(spec)
    if "value" in model.heads:
        return ValueScorer(model)
    if "reward" in model.heads:
        return RewardScorer(model)
    raise ConfigError(f"{spec}: the model has neither a value nor a reward head; train one with `espalier train value`")
