"""How well tool calls match those that were wanted: names, parameter names, parameter values.

ToolRL, Qian et al. 2025 (arXiv:2504.13958), section 3.3: a reward with parts is learned from where one for an exact
match is hardly ever met.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from espalier.scorers.leaves import Verifier
from espalier.trees import Node, Score, Tree

ToolCall = Mapping[str, Any]
"""{"name": "weather", "parameters": {"city": "Oslo"}}"""

_FORM = re.compile(r"<think>.*?</think>\s*<tool_call>\n(?P<calls>.*?)\n</tool_call>\s*", re.DOTALL)
_CALLS = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def tool_call_match(wanted: Sequence[ToolCall], made: Sequence[ToolCall]) -> float:
    """How much of the wanted calls was made, from 0 to 1.

    With calls paired so that the sum is largest (each at most once, and only where the tools' names agree): the Jaccard
    index of the tools' names; for each wanted call the Jaccard index of its parameters' names; and for each wanted
    parameter 1 where its value is right. Divided by the most that could be had.

    >>> call = {"name": "add", "parameters": {"a": 1, "b": 2}}
    >>> tool_call_match([call], [{"name": "add", "parameters": {"a": 1, "c": 2}}])  # (1 + 1/3 + 1) / (1 + 1 + 2)
    0.5833333333333333
    """
    if not wanted:
        return float(not made)
    names = _jaccard((call["name"] for call in wanted), (call["name"] for call in made))
    pairs = np.array([[_pair(one, other) for other in made] for one in wanted]).reshape(len(wanted), len(made))
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    most = 1 + len(wanted) + sum(len(call["parameters"]) for call in wanted)
    return (names + float(pairs[rows, columns].sum())) / most


def tool_calls(text: str) -> list[ToolCall] | None:
    """The calls between <tool_call> and </tool_call>, one JSON object a line; None where one cannot be read."""
    found: list[ToolCall] = []
    for block in _CALLS.findall(text):
        for line in filter(None, map(str.strip, block.splitlines())):
            try:
                call = json.loads(line)
            except (ValueError, RecursionError):
                return None
            good = isinstance(call, dict) and isinstance(call.get("name"), str)
            if not good or not isinstance(call.setdefault("parameters", {}), dict):
                return None
            found.append(call)
    return found


class ToolCallReward(Verifier):
    """ToolRL's reward: 1 for the form, and from -3 to 3 for the calls.

    The form is <think>...</think>, then <tool_call>, the calls, one JSON object a line, </tool_call>. The calls get
    6 * match - 3 with `tool_call_match`, and -3 where they cannot be read. The wanted ones are `meta["calls"]`.

    Args:
        exact: calls get 3 where all are as wanted and -3 else: the reward that the parts are compared with.
    """

    def __init__(self, name: str = "tool_calls", *, exact: bool = False) -> None:
        super().__init__(name)
        self.exact = exact

    def judge(self, node: Node, tree: Tree) -> Score:
        text, wanted = node.response(), tree.meta.get("calls")
        if not wanted:
            raise ValueError("the problem has no meta['calls'] to compare with")
        made = tool_calls(text)
        match = 0.0 if made is None else tool_call_match(wanted, made)
        if self.exact:
            match = float(match == 1 and made is not None and len(made) == len(wanted))
        return Score(float(_FORM.fullmatch(text) is not None) + 6 * match - 3)


def _pair(wanted: ToolCall, made: ToolCall) -> float:
    """What this call gives for that one; 0 for another tool's."""
    if wanted["name"] != made["name"]:
        return 0.0
    theirs, ours = made["parameters"], wanted["parameters"]
    right = sum(key in theirs and theirs[key] == value for key, value in ours.items())
    return _jaccard(ours, theirs) + right


def _jaccard(first: Iterable[str], second: Iterable[str]) -> float:
    """The share of names that both have, counted as often as they come up; 1 where neither has any."""
    # iter: a Counter of a mapping takes its values for the counts.
    one, other = Counter(iter(first)), Counter(iter(second))
    both = (one | other).total()
    return (one & other).total() / both if both else 1.0
