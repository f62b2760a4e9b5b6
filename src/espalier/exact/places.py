"""Where a node of a tree stands in an exact language: which prompt, which text, and whether it has ended."""

from __future__ import annotations

from typing import NamedTuple

from espalier.errors import DataError
from espalier.exact.language import Language
from espalier.trees import Node


class Place(NamedTuple):
    """Attributes: the prompt's number, the text's, and the string's where the string is complete."""

    prompt: int
    text: int
    string: int | None


def place(language: Language, node: Node) -> Place:
    """The place of the text from the prompt to the end of `node`.

    Raises:
        DataError: a prompt or text that is not of the language.
    """
    root, *path = node.path()
    if root.text not in language.prompts:
        raise DataError("<tree>", None, "prompt", repr(root.text), f"one of {language.prompts}")
    said, text = "".join(part.text for part in path), 0
    if len(said) > language.length or not set(said) <= set(language.symbols):
        expected = f"at most {language.length} of the symbols {language.symbols!r}"
        raise DataError("<tree>", None, "text", repr(said), expected)
    for symbol in said:
        text = language.child(text, language.symbols.index(symbol))
    complete = len(said) == language.length or any(part.stop == "eos" for part in path)
    return Place(language.prompts.index(root.text), text, text - language.first if complete else None)
