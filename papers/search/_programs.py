"""Writers of stack programs: which programs pass, a policy that half knows them, and samples of it token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.exact import Language, Tabular
from espalier.worlds.programs import INSTRUCTIONS, Task, compiles


def language(length: int) -> Language:
    """Programs of up to this many instructions for 8 tasks; the prompts only name them."""
    return Language(INSTRUCTIONS, length, prompts=("x1", "1x", "x+", "+x", "x*", "*x", "1+", "+1"))


def passing(of: Language, tasks: Sequence[Task]) -> Tensor:
    """Whether each program passes all tests of each task, "tasks strings"."""
    run = [compiles(text) for text in of.strings]
    rows = [[float(ok and task.passed(text) == 1) for text, ok in zip(of.strings, run, strict=True)] for task in tasks]
    return torch.tensor(rows, dtype=torch.float64)


def half_trained(of: Language, right: Tensor, knows: float, seed: int) -> Tensor:
    """Next-token log-probs that with this chance continue a right program, short ones rather, and else are random.

    So each token is another chance to go wrong, and long programs are seldom right.
    """
    lengths = torch.tensor([float(len(text)) for text in of.strings], dtype=torch.float64)
    knowing = of.next_logprobs(right.log() - lengths).exp()
    return (knows * knowing + (1 - knows) * Tabular.random(of, seed).next_logprobs().detach().exp()).log()


class Written(NamedTuple):
    """Sampled programs: the string's number, "tasks n", and as `Language.paths` of each token, "tasks n length"."""

    string: Tensor
    before: Tensor
    token: Tensor
    there: Tensor

    def of(self, table: Tensor) -> Tensor:
        """The entries of a table, "tasks prefixes tokens", for each sampled token, 0 where there is none."""
        rows = torch.arange(len(table))[:, None, None]
        return torch.where(self.there, table[rows, self.before, self.token], 0.0)


def write(of: Language, following: Tensor, n: int, draws: torch.Generator) -> Written:
    """n programs a task."""
    tasks, end = len(following), len(of.symbols)
    at, alive = torch.zeros(tasks, n, dtype=torch.long), torch.ones(tasks, n, dtype=torch.bool)
    string, places = at, []
    for _ in range(of.length):
        law = following[torch.arange(tasks)[:, None], at].exp()
        token = torch.multinomial(law.flatten(0, 1), 1, generator=draws).view(tasks, n)
        places.append((at, token, alive))
        string = torch.where(alive & (token == end), at, string)
        alive = alive & (token != end)
        at = torch.where(alive, at * end + token + 1, 0)
    before, token, there = (torch.stack(parts, -1) for parts in zip(*places, strict=True))
    return Written(torch.where(alive, at, string), before, token, there)
