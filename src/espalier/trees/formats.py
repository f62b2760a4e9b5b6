"""From one row to one tree: the column formats that the ecosystem uses.

| format | tree | scores |
|---|---|---|
| `prompt`, `question` | a bare problem | |
| `prompt/completion` | one leaf | |
| `prompt/completion/label` | one leaf | `label` on it |
| `prompt/chosen/rejected` | two leaves; `margin`, where given, in the tree's meta | `preference`: 1 and 0 |
| `prompt/first/second/preference` | two leaves | `preference`: the chance that the first is better, and 1 minus it |
| `prompt/completions/labels` | a chain of steps | `label` on each; null is missing |
| `question/answer` | one leaf, the answer | |
| `messages` | what leads to the last message is the prompt, the last message (the assistant's) one leaf | |

In every format a row may have `answer`, the reference answer, kept as `tree.meta["answer"]`; `id`; and `model`, which
makes the policy the author, else a human is. These and all other columns are kept under their own names, in the meta
of the leaves, or of the tree where there is none. `prompt`, `completion`, `chosen` and `rejected` may also be lists of
chat messages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from espalier.errors import ConfigError, DataError, ModelError
from espalier.trees.node import Author, Node, Score, Tree
from espalier.trees.rows import describe

Format = Literal[
    "prompt",
    "question",
    "prompt/completion",
    "prompt/completion/label",
    "prompt/chosen/rejected",
    "prompt/first/second/preference",
    "prompt/completions/labels",
    "question/answer",
    "messages",
]
FORMATS: tuple[Format, ...] = get_args(Format)
FIELDS = frozenset(name for known in FORMATS for name in known.split("/"))
OPTIONAL = frozenset({"answer", "id", "margin", "model"})


def detect(file: str, found: Collection[str]) -> Format:
    """The one format whose columns are all there; the longest, where one format's columns include another's.

    Raises:
        DataError: none is, or several are.
    """
    columns = set(found)
    fits = [known for known in FORMATS if columns >= set(known.split("/"))]
    fits = [known for known in fits if "/" in known or known == "messages"] or fits  # a bare prompt is the last resort
    fits = [known for known in fits if not any(set(known.split("/")) < set(other.split("/")) for other in fits)]
    if len(fits) == 1:
        return fits[0]
    what = f"columns {', '.join(sorted(columns))}" + (f", which fit {' and '.join(fits)}" if fits else "")
    raise DataError(file, None, None, what, f"one of the formats {', '.join(FORMATS)}; pass format= or columns=")


@dataclass(frozen=True, slots=True)
class Record:
    """One row under our names, with what an error about it needs.

    Attributes:
        values: the row under the file's names.
        names: from our names to the file's.
        cells: the values are CSV cells: numbers and lists are written out as text.
    """

    file: str
    line: int
    values: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    cells: bool = False
    tokenizer: Any = None

    def fail(self, name: str, found: str, expected: str) -> NoReturn:
        raise DataError(self.file, self.line, self.names.get(name, name), found, expected)

    def get(self, name: str) -> Any:
        """An optional field, or None."""
        return self.values.get(self.names.get(name, name))

    def need(self, name: str, expected: str) -> Any:
        column = self.names.get(name, name)
        if column not in self.values:
            self.fail(name, f"no such field among {', '.join(self.values) or 'none'}", expected)
        if self.values[column] is None:
            self.fail(name, "null", expected)
        return self.values[column]

    def items(self, name: str, of: str) -> list[Any]:
        value = self.need(name, f"a list of {of}")
        if self.cells and isinstance(value, str):
            with suppress(json.JSONDecodeError):
                value = json.loads(value)
        if not isinstance(value, list):
            self.fail(name, describe(value), f"a list of {of}")
        if not value:
            self.fail(name, "an empty list", f"a list of {of}")
        return value

    def text(self, name: str, value: Any, expected: str = "a string") -> str:
        if not isinstance(value, str):
            self.fail(name, describe(value), expected)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                self.fail(name, f"half of a surrogate pair at character {error.start + 1}", "valid Unicode text")
        return value

    def number(self, name: str, value: Any) -> float:
        """A label or margin: a finite number, or true and false for 1 and 0."""
        if self.cells and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.strip().lower(), value)
            with suppress(ValueError):
                value = float(value)
        if not isinstance(value, bool | int | float) or not abs(value) <= sys.float_info.max:
            self.fail(name, describe(value), "a number, true or false")
        return float(value)

    def messages(self, name: str) -> list[dict[str, Any]]:
        """A conversation: a list of objects with a role and text."""
        found = self.items(name, "messages")
        for message in found:
            if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
                self.fail(name, describe(message), "a message with role and content")
        return found

    def prompt(self, name: str) -> str:
        """A prompt: text, or a conversation that the tokenizer's chat template turns into text."""
        value = self.need(name, "a string or chat messages")
        return self.rendered(name, self.messages(name)) if isinstance(value, list) else self.text(name, value)

    def response(self, name: str, conversation: bool) -> str:
        """What answers a prompt: text, or one assistant message where the prompt is a conversation."""
        value = self.need(name, "a string")
        if conversation and isinstance(value, list):
            found = self.messages(name)
            if len(found) != 1:
                self.fail(name, f"{len(found)} messages", "one assistant message")
            return self.reply(name, found[0])
        return self.text(name, value)

    def reply(self, name: str, message: dict[str, Any]) -> str:
        if message["role"] != "assistant":
            self.fail(name, f"a last message from {describe(message['role'])}", 'one from "assistant"')
        return self.text(name, message["content"], "an assistant message with text")

    def rendered(self, name: str, messages: list[dict[str, Any]]) -> str:
        """The conversation as the model sees it, up to where the assistant begins to speak."""
        from jinja2 import TemplateError

        tokenizer = self.tokenizer
        if tokenizer is None:
            raise ConfigError(f"{self.file} holds chat messages: pass tokenizer=, whose chat template renders them")
        if not tokenizer.chat_template:
            raise ModelError(f"{self.file} holds chat messages, but the tokenizer has no chat template")
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError) as error:
            self.fail(name, f"messages that the chat template refuses ({error})", "messages that it can render")
        # Encoding the prompt adds the begin-of-text token where the tokenizer does that by itself; never twice.
        begin = tokenizer.bos_token
        if begin and text.startswith(begin) and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
            text = text.removeprefix(begin)
        return self.text(name, text)


def tree(record: Record, format: Format, separator: str) -> Tree:
    """The row as a tree.

    Raises:
        DataError: a field that is missing, null, or of the wrong type.
    """
    grown = _BUILDERS[format](record, separator)
    names = {*format.split("/"), "answer", "id"}
    used = {record.names.get(name, name) for name in names}
    ours = {column: name for name, column in record.names.items()}
    extra = {ours.get(key, key): _json(value) for key, value in record.values.items() if key not in used}
    if "chosen" in names and extra.get("margin") is not None:
        grown.meta["margin"] = record.number("margin", extra.pop("margin"))
    leaves = grown.leaves()
    holders: list[Node | Tree] = [*leaves] or [grown]
    for holder in holders:
        holder.meta.update(extra)
    author: Author = "human" if extra.get("model") is None else "policy"
    for node in grown.walk():
        if node is not grown.root:
            node.author = author
    for leaf in leaves:
        leaf.stop = "eos"
    if "second" in names:
        leaves[1].meta.pop("model", None)  # it is the first one's writer
    if (answer := record.get("answer")) is not None:
        grown.meta["answer"] = _json(answer)
    grown.id = _id(record)
    return grown


def _id(record: Record) -> str:
    value = record.get("id")
    if value is None:
        return f"{Path(record.file).stem}:{record.line}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        record.fail("id", describe(value), "a string or an integer")
    return record.text("id", str(value))


def _json(value: Any) -> Any:
    """A table's value as JSON has it: dates, decimals and bytes as text."""
    return json.loads(json.dumps(value, default=str)) if not isinstance(value, str | int | float | None) else value


def _bare(record: Record, separator: str, name: str = "prompt") -> Tree:
    return Tree(Node(record.prompt(name), "prompt"))


def _one(record: Record, separator: str, prompt: str = "prompt", completion: str = "completion") -> Tree:
    grown = _bare(record, separator, prompt)
    grown.root.add(Node(record.response(completion, isinstance(record.get(prompt), list))))
    return grown


def _labelled(record: Record, separator: str) -> Tree:
    grown = _one(record, separator)
    label = record.number("label", record.need("label", "a number, true or false"))
    grown.root.children[0].scores["label"] = Score(label)
    return grown


def _pair(record: Record, separator: str) -> Tree:
    grown = _bare(record, separator)
    for name, value in (("chosen", 1.0), ("rejected", 0.0)):
        text = record.response(name, isinstance(record.get("prompt"), list))
        grown.root.add(Node(text, scores={"preference": Score(value)}))
    return grown


def _compared(record: Record, separator: str) -> Tree:
    grown = _bare(record, separator)
    expected = "the chance that the first is better, 0 to 1"
    share = record.number("preference", record.need("preference", expected))
    if not 0 <= share <= 1:
        record.fail("preference", describe(share), expected)
    for name, value in (("first", share), ("second", 1 - share)):
        text = record.response(name, isinstance(record.get("prompt"), list))
        grown.root.add(Node(text, scores={"preference": Score(value)}))
    return grown


def _steps(record: Record, separator: str) -> Tree:
    grown = _bare(record, separator)
    steps = [record.text("completions", step, "a list of strings") for step in record.items("completions", "strings")]
    labels = record.items("labels", "numbers, true or false")
    if len(labels) != len(steps):
        record.fail("labels", f"{len(labels)} labels", f"{len(steps)}, one for each step")
    node = grown.root
    for i, (step, label) in enumerate(zip(steps, labels, strict=True)):
        joined = i + 1 == len(steps) or step.endswith(separator) or steps[i + 1].startswith(separator)
        score = Score.absent("no label in the file") if label is None else Score(record.number("labels", label))
        node = node.add(Node(step if joined else step + separator, scores={"label": score}))
    return grown


def _chat(record: Record, separator: str) -> Tree:
    messages = record.messages("messages")
    reply = record.reply("messages", messages[-1])
    if len(messages) == 1:
        record.fail("messages", "an assistant message alone", "messages before it")
    grown = Tree(Node(record.rendered("messages", messages[:-1]), "prompt"))
    grown.root.add(Node(reply))
    return grown


_BUILDERS: dict[Format, Callable[[Record, str], Tree]] = {
    "prompt": _bare,
    "question": lambda record, separator: _bare(record, separator, "question"),
    "prompt/completion": _one,
    "prompt/completion/label": _labelled,
    "prompt/chosen/rejected": _pair,
    "prompt/first/second/preference": _compared,
    "prompt/completions/labels": _steps,
    "question/answer": lambda record, separator: _one(record, separator, "question", "answer"),
    "messages": _chat,
}
