"""The work to be measured: models of a known shape, a tokenizer of words, and seeded data as JSON lines.

Importing this needs numpy only, so that the peers' environments can. A text is words with a space between; each word is
one token, whatever the tokenizer is asked to join, so both sides of a comparison see the same token ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

EOS, PAD, UNKNOWN = "<|endoftext|>", "<|pad|>", "<|unknown|>"
SIGNS = [*"0123456789", "+", "-", "*", "=", "?"]
FIRST_WORD = 3 + len(SIGNS)
"""Token ids from here on are words without a meaning: w18, w19, ..."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A Qwen2 model with tied embeddings."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int = 4096
    context: int = 2048

    @property
    def trunk(self) -> int:
        """Weights of the layers' matrix products."""
        attention = self.hidden * self.hidden * 2 + 2 * self.hidden * self.hidden // self.heads * self.kv_heads
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def forward_flops(self, tokens: int, looks: int, targets: int) -> float:
        """Floating-point operations of a forward pass; a backward pass is twice that.

        Args:
            looks: pairs of a query and a key that it may see.
            targets: tokens whose log-prob is wanted; only they need the output matrix.
        """
        products = tokens * self.trunk + targets * self.hidden * self.vocabulary
        return 2.0 * products + 4.0 * self.layers * self.hidden * looks


SHAPES = {
    "tiny": Shape(32, 2, 64, 4, 2, 256),
    "10m": Shape(384, 6, 1024, 6, 2),
    "40m": Shape(768, 6, 2048, 12, 4),
}
SHAPES["10m-150k"] = replace(SHAPES["10m"], vocabulary=150_000)


def words(vocabulary: int) -> list[str]:
    """The tokens by id."""
    return [EOS, PAD, UNKNOWN, *SIGNS, *(f"w{i}" for i in range(FIRST_WORD, vocabulary))]


def make_model(folder: Path, shape: Shape, seed: int = 0) -> None:
    """`folder/model`: fresh weights (safetensors), tokenizer and `shape.json`, as `from_pretrained` reads them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words(shape.vocabulary))}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([EOS, PAD, UNKNOWN])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=EOS, pad_token=PAD, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "model" / "shape.json").write_text(json.dumps(asdict(shape)))


def read_shape(folder: Path) -> Shape:
    return Shape(**json.loads((folder / "model" / "shape.json").read_text()))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def length(text: str) -> int:
    """Tokens of a text."""
    return len(text.split())


def text(rng: np.random.Generator, tokens: int, vocabulary: int) -> str:
    return " ".join(f"w{i}" for i in rng.integers(FIRST_WORD, vocabulary, tokens))


def lengths(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    """Log-normal around the geometric mean of the bounds, clipped to them."""
    drawn = np.exp(rng.normal(np.log(np.sqrt(low * high)), 0.6, count))
    return [int(n) for n in np.clip(drawn, low, high)]


def pairs(
    count: int,
    vocabulary: int = 4096,
    prompt: tuple[int, int] = (30, 300),
    response: tuple[int, int] = (20, 300),
    seed: int = 0,
) -> list[Row]:
    """Preference pairs; a response's length includes the end-of-text token that training adds."""
    rng = np.random.default_rng(seed)
    sizes = zip(*(lengths(rng, *bounds, count) for bounds in (prompt, response, response)), strict=True)
    return [
        {
            "prompt": text(rng, p, vocabulary),
            "chosen": " " + text(rng, c - 1, vocabulary),
            "rejected": " " + text(rng, r - 1, vocabulary),
        }
        for p, c, r in sizes
    ]


def arithmetic(count: int, tokens: int = 0, vocabulary: int = 4096, seed: int = 0) -> list[Row]:
    """Sums with their answers; words before the sum bring a prompt to `tokens` tokens where it is shorter.

    >>> arithmetic(1)
    [{'prompt': '8 5 + 6 3 =', 'answer': '1 4 8'}]
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        a, b = (int(n) for n in rng.integers(10, 100, 2))
        problem = f"{' '.join(str(a))} + {' '.join(str(b))} ="
        filler = text(rng, max(tokens - length(problem), 0), vocabulary)
        rows.append({"prompt": f"{filler} {problem}".strip(), "answer": " ".join(str(a + b))})
    return rows


def prompts(count: int, low: int, high: int, vocabulary: int = 4096, seed: int = 0) -> list[Row]:
    """Bare prompts of log-normal length."""
    rng = np.random.default_rng(seed)
    return [{"prompt": text(rng, n, vocabulary)} for n in lengths(rng, low, high, count)]


def responses(count: int, prompt: int, response: int, vocabulary: int = 4096, seed: int = 0) -> list[Row]:
    """One prompt and `count` responses, as rows of `prompt` and `completion`."""
    rng = np.random.default_rng(seed)
    shared = text(rng, prompt, vocabulary)
    return [{"prompt": shared, "completion": " " + text(rng, response - 1, vocabulary)} for _ in range(count)]


def forward_flops(shape: Shape, prompt: int, responses: Iterable[int], targets: bool = True) -> float:
    """Of a prompt of so many tokens that is run once, and of responses of so many each."""
    sizes = list(responses)
    looks = prompt * (prompt + 1) // 2 + sum(size * prompt + size * (size + 1) // 2 for size in sizes)
    return shape.forward_flops(prompt + sum(sizes), looks, sum(sizes) if targets else 0)


def pair_figures(rows: list[Row], recipe: str, shape: Shape, shared: bool) -> Row:
    """The work of one epoch over preference pairs (of SFT: over the chosen responses).

    `tokens` counts each distinct token once, for everybody alike. `flops` are those of forward and backward passes and,
    for DPO, of the reference's forward pass, without padding and recomputation; with a prompt run once a pair
    (`shared`), or once a response.
    """
    tokens, flops = 0, 0.0
    for row in rows:
        p = length(row["prompt"])
        sizes = [length(row[name]) + 1 for name in (("chosen",) if recipe == "sft" else ("chosen", "rejected"))]
        groups = [sizes] if shared else [[size] for size in sizes]
        once = sum(forward_flops(shape, p, group, targets=recipe != "reward") for group in groups)
        tokens += p + sum(sizes)
        flops += (4 if recipe == "dpo" else 3) * once
    return {"tokens": tokens, "flops": flops}


def closeness(response: str, answer: str) -> float:
    """A reward: 1 for the answer itself, else half of the share of its signs that the response has.

    >>> closeness("1 4 8", "1 4 8"), closeness("w20 1 w21", "1 4")
    (1.0, 0.25)
    """
    if response.split() == answer.split():
        return 1.0
    signs = set(answer.split())
    return 0.5 * len(signs & set(response.split())) / len(signs)


def scored_tokens(rows: list[Row]) -> int:
    """Distinct tokens of responses under one prompt, with their end-of-text tokens."""
    return length(rows[0]["prompt"]) + sum(length(row["completion"]) + 1 for row in rows)
