"""Tools inside a rollout: a continuation that calls one pauses, gets the answer, and goes on.

The answer is a node with author "tool" in the continuation's chain: policy, tool, policy, ... It has no log-probs, and
what trains on the tree leaves its tokens out of every loss, as it does with prompts. All branches that pause in a round
are answered together and go on in as few calls of the engine as their token limits allow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from espalier.engines.base import Engine, Sampling, unless_full
from espalier.errors import ConfigError, EngineError
from espalier.sandbox import parallel
from espalier.trees import Ledger, Node


@runtime_checkable
class Tool(Protocol):
    """Anything that answers a text with a text. What goes wrong with a call is told in the answer, not raised."""

    name: str

    def call(self, text: str) -> str:
        """The answer to what stands between the marks of a call."""
        ...


@dataclass(frozen=True)
class Call:
    """How a policy calls a tool, and how the answer is written into its text.

    Attributes:
        tool: who answers.
        begin: what opens a call; by default `<name>`.
        end: what closes it, where the policy pauses; by default `</name>`.
        answer: the text that is added, with {} for the answer.

    Raises:
        ConfigError: an empty mark, or an answer without its place.
    """

    tool: Tool
    begin: str = ""
    end: str = ""
    answer: str = "<result>{}</result>"

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin", self.begin or f"<{self.tool.name}>")
        object.__setattr__(self, "end", self.end or f"</{self.tool.name}>")
        if "{}" not in self.answer:
            raise ConfigError(f"the answer of tool {self.tool.name!r} must have {{}} where it goes: {self.answer!r}")

    def asked(self, text: str) -> str | None:
        """What the call that ends this text asks; None where it ends with none."""
        _, begin, asked = text.removesuffix(self.end).rpartition(self.begin)
        return asked if text.endswith(self.end) and begin and self.end not in asked else None


@dataclass(frozen=True)
class Hint:
    """A text put into a response (START, Li et al. 2025, arXiv:2503.04625): "maybe Python can help here", say.

    Attributes:
        text: what is inserted, as a node with author "prompt" and `meta["hint"]`, so nothing is learned from it;
            `espalier.curation.hinted` makes demonstrations from what it led to.
        after: the words after which it is inserted; where empty, at the end of a response, which then goes on.
        times: how often in one response.
    """

    text: str
    after: tuple[str, ...] = ()
    times: int = 1


class ToolEngine:
    """An `Engine` whose continuations may call tools: chains of nodes where they do, single nodes where they do not.

    A chain's policy tokens are at most `sampling.max_tokens` together. After a pause the rest of them is rounded down
    to three significant bits, so that branches with about as much left share a call to the engine. Once a response has
    made `max_calls` calls, the marks of a call mean nothing in it any more.

    Args:
        engine: who writes.
        calls: the tools and their marks.
        max_calls: the most calls in one continuation.
        hint: a text that is put into the responses.

    Raises:
        ConfigError: neither a tool nor a hint, two tools with the same end mark, or max_calls < 1.
    """

    def __init__(self, engine: Engine, calls: Sequence[Call], *, max_calls: int = 4, hint: Hint | None = None) -> None:
        if not calls and hint is None:
            raise ConfigError("a ToolEngine needs at least one tool, or a hint")
        if len({call.end for call in calls}) < len(calls):
            raise ConfigError(f"tools need different end marks, found {[call.end for call in calls]}")
        if max_calls < 1:
            raise ConfigError(f"max_calls must be at least 1, found {max_calls}")
        self.engine, self.calls, self.max_calls, self.hint = engine, tuple(calls), max_calls, hint
        self._seconds = 0.0

    @property
    def spent(self) -> Ledger:
        """What the engine spent, and the seconds that the tools took."""
        return self.engine.spent + Ledger(seconds=self._seconds)

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        """See `espalier.engines.base.Engine.extend`; raises as the engine does."""
        first = self.engine.extend(prefixes, n, self._sampling(sampling, self.max_calls, self._times))
        branches = [
            _Branch(node, node, sampling.max_tokens, self.max_calls, self._times) for nodes in first for node in nodes
        ]
        at = iter(branches)
        try:
            # An engine reads a prefix up to its root, so the chains hang on the tree while they grow.
            for prefix in prefixes:
                for _ in range(n):
                    prefix.add(next(at).first)
            self._grow(branches, sampling)
        finally:
            for branch in branches:
                branch.first.detach()
        return first

    @property
    def _times(self) -> int:
        return self.hint.times if self.hint is not None else 0

    def _sampling(self, sampling: Sampling, calls: int, hints: int, tokens: int | None = None) -> Sampling:
        """How a branch with so many calls, hints and tokens left goes on."""
        marks = [call.end for call in self.calls] if calls else []
        marks += self.hint.after if self.hint is not None and hints else ()
        stops = tuple(dict.fromkeys([*sampling.stop, *marks]))
        return replace(sampling, stop=stops, max_tokens=tokens or sampling.max_tokens)

    def _grow(self, branches: Sequence[_Branch], sampling: Sampling) -> None:
        paused = [branch for branch in branches if self._charge(branch)]
        while paused:
            self._answer(paused)
            groups: dict[Sampling, list[_Branch]] = {}
            for branch in paused:
                if branch.end.author == "policy" and (
                    branch.end.stop == "eos" or branch.said().endswith(sampling.stop)
                ):
                    continue  # it is over, or paused for whoever asked; after a mark that closes no call it goes on
                if branch.tokens < 1:
                    branch.end.stop = "length"
                    continue
                tokens = branch.tokens & ~((1 << max(0, branch.tokens.bit_length() - 3)) - 1)
                groups.setdefault(self._sampling(sampling, branch.calls, branch.hints, tokens), []).append(branch)
            for how, group in groups.items():
                self._extend(group, how)
            paused = [branch for group in groups.values() for branch in group if self._charge(branch)]

    def _extend(self, group: Sequence[_Branch], sampling: Sampling) -> None:
        """Let each branch of a group go on by a node; one that has filled the context ends."""
        grown = unless_full([branch.end for branch in group], lambda few: self.engine.extend(few, 1, sampling))
        for branch, nodes in zip(group, grown, strict=True):
            if nodes:
                branch.end = branch.end.add(nodes[0])
            else:
                branch.end.stop = "length"

    def _charge(self, branch: _Branch) -> bool:
        """Take what the branch's last node wrote off its tokens; returns whether it may be paused."""
        node = branch.end
        if node.author != "policy":
            return False
        if node.token_ids is None:
            raise EngineError(f"{type(self.engine).__name__}.extend returned a node without token ids")
        branch.tokens -= len(node.token_ids)
        return node.stop == "stop" or (node.stop == "eos" and self.hint is not None and not self.hint.after)

    def _answer(self, paused: Sequence[_Branch]) -> None:
        """Give each of these its tool's answer or its hint, if it paused for one."""
        asked: list[tuple[_Branch, Call, str]] = []
        for branch in paused:
            text = branch.said()
            found = [(call, question) for call in self.calls if (question := call.asked(text)) is not None]
            if branch.end.stop == "stop" and branch.calls and found:
                asked.append((branch, *max(found, key=lambda pair: len(pair[0].end))))
            elif self.hint is not None and branch.hints and _due(branch.end, self.hint):
                _go_on(branch.end)
                hint = Node(self.hint.text, "prompt", meta={"hint": True})
                branch.end, branch.hints = branch.end.add(hint), branch.hints - 1
        started = time.perf_counter()
        answers = parallel(lambda item: item[1].tool.call(item[2]), asked)
        self._seconds += time.perf_counter() - started
        for (branch, call, _), answer in zip(asked, answers, strict=True):
            node = Node(call.answer.replace("{}", answer), "tool", meta={"tool": call.tool.name})
            branch.end, branch.calls = branch.end.add(node), branch.calls - 1


@dataclass
class _Branch:
    """A continuation that grows: its first and last node, and what it has left."""

    first: Node
    end: Node
    tokens: int
    calls: int
    hints: int

    def said(self) -> str:
        """What the policy wrote since it was last spoken to, before this continuation too."""
        parts: list[str] = []
        for node in reversed(self.end.path()):
            if node.author not in ("policy", "human"):
                break
            parts.append(node.text)
        return "".join(reversed(parts))


def _due(node: Node, hint: Hint) -> bool:
    return node.text.endswith(hint.after) if hint.after else node.stop == "eos"


def _go_on(node: Node) -> None:
    """Take back the end of a response, which is not over."""
    if node.stop == "eos":
        node.stop = None
        node.token_ids = node.token_ids[:-1] if node.token_ids else node.token_ids
        node.logprobs = node.logprobs[:-1] if node.logprobs else node.logprobs
        node.streams.clear()
