"""Programs to be written anew: tasks to learn from and tasks held out, and small networks that see them all.

A task is a program of up to 7 stack instructions, given as it stands; right is every program of up to 5 that computes
the same. What a network learns from some tasks it can use on others.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor, nn

from espalier.exact import Language
from espalier.worlds.programs import INSTRUCTIONS, Task, compiles, execute

LANGUAGE, LONGEST = Language(INSTRUCTIONS, 5), 7
RUNS = torch.tensor([compiles(text) for text in LANGUAGE.strings])
"""Which programs compile."""


@cache
def tasks() -> tuple[tuple[str, ...], Tensor]:
    """The tasks, and whether each program is right, "tasks strings"."""

    def behaviour(program: str) -> tuple[int, ...]:
        return tuple(execute(program, x) for x in Task(program).inputs)

    answers = [behaviour(text) if compiles(text) else () for text in LANGUAGE.strings]
    possible = {answer for answer in answers if answer}
    texts = ("".join(each) for length in range(1, LONGEST + 1) for each in product(INSTRUCTIONS, repeat=length))
    asked = {text: does for text in texts if compiles(text) and (does := behaviour(text)) in possible}
    return tuple(asked), torch.tensor([[float(does == answer) for answer in answers] for does in asked.values()])


def _marks(texts: tuple[str, ...], length: int) -> Tensor:
    """A 1 for the instruction at each place, or for its absence."""
    marks = torch.zeros(len(texts), length, len(INSTRUCTIONS) + 1)
    for row, text in enumerate(texts):
        for place in range(length):
            marks[row, place, INSTRUCTIONS.find(text[place]) if place < len(text) else -1] = 1
    return marks.flatten(1)


class Network(nn.Module):
    """Some numbers, 0 at first, for each prefix of an answer to each task: next-instruction logits, or a value."""

    def __init__(self, outputs: int, seed: int, width: int = 64) -> None:
        super().__init__()
        self.asked, self.written = _marks(tasks()[0], LONGEST), _marks(LANGUAGE.texts[: LANGUAGE.prefixes], 4)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.task, self.prefix = nn.Linear(self.asked.shape[1], width), nn.Linear(self.written.shape[1], width)
            self.both, self.out = nn.Linear(width, width), nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, task: Tensor, prefix: Tensor) -> Tensor:
        """Of these numbers of tasks and prefixes, which are broadcast."""
        hidden = self.task(self.asked)[task] + self.prefix(self.written)[prefix]
        return self.out(self.both(hidden.relu()).relu())


def paths(strings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each token of programs "tasks n": the prefix before it, the token, whether it is there."""
    before, token, there = (part[strings] for part in LANGUAGE.paths)
    return before, token, there


def token_logprobs(policy: Network, task: Tensor, strings: Tensor) -> Tensor:
    """The log-prob of each token of programs "tasks n", 0 after their ends."""
    before, token, there = paths(strings)
    following = policy(task[:, None, None], before).log_softmax(-1)
    return torch.where(there, following.gather(-1, token[..., None])[..., 0], 0.0)


@torch.no_grad()
def write(policy: Network, task: Tensor, n: int, draws: torch.Generator, temperature: float = 1.0) -> Tensor:
    """n programs a task, "tasks n"; at temperature 0 the likeliest instruction each time."""
    end, task = len(INSTRUCTIONS), task[:, None].expand(-1, n)
    at, alive = torch.zeros_like(task), torch.ones_like(task, dtype=torch.bool)
    for _ in range(LANGUAGE.length):
        logits = policy(task, at)
        token = logits.argmax(-1)
        if temperature:
            law = (logits / temperature).softmax(-1).flatten(0, 1)
            token = torch.multinomial(law, 1, generator=draws).view(task.shape)
        alive = alive & (token != end)
        at = torch.where(alive, at * end + token + 1, at)
    return at


@torch.no_grad()
def law(policy: Network, task: Tensor, temperature: float = 1.0) -> Tensor:
    """The probability of each program, "tasks strings"."""
    following = policy(task[:, None], torch.arange(LANGUAGE.prefixes)) / temperature
    return LANGUAGE.string_logprobs(following.log_softmax(-1)).exp()
