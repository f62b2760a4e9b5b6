"""A world of browsing: commands lead from a search to its results, to pages, and to quotes that an answer goes with.

There are four pages to every question. `s` shows two of them as results, and the other two when it comes again; `1` and
`2` open a result; `q` quotes the page that is open. What cannot be done does nothing. Where commands lead they say
themselves, so a language of all of them can be written down (`espalier.exact.Language`); what a page says, and whether
that is right, is each question's own.
"""

from __future__ import annotations

from typing import NamedTuple

COMMANDS = "s12q"
PAGES = 4


class At(NamedTuple):
    """A place that commands lead to.

    Attributes:
        results: which results are shown, the first (1) or the second (2) two pages; 0 before a search.
        opened: which of them is open, 1 or 2; 0 for none.
        quotes: the pages that were quoted, in order, numbered from 0.
    """

    results: int = 0
    opened: int = 0
    quotes: tuple[int, ...] = ()

    @property
    def page(self) -> int | None:
        """The page that is open, from 0."""
        return 2 * (self.results - 1) + self.opened - 1 if self.opened else None


def browse(commands: str) -> At:
    """Where commands lead.

    >>> browse("s2qs1"), browse("s2qs1").page, browse("s2qs1q").quotes
    (At(results=2, opened=1, quotes=(1,)), 2, (1, 2))

    Raises:
        ValueError: a command is unknown.
    """
    at = At()
    for command in commands:
        if command not in COMMANDS:
            raise ValueError(f"{command!r} in {commands!r} is none of the commands {', '.join(COMMANDS)}")
        if command == "s":
            at = At(at.results % 2 + 1, 0, at.quotes)
        elif command == "q":
            at = at if at.page is None else at._replace(quotes=(*at.quotes, at.page))
        elif at.results:
            at = at._replace(opened=int(command))
    return at
