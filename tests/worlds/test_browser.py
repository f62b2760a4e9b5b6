"""Commands lead where they should, and nowhere where they make no sense."""

from __future__ import annotations

import pytest

from espalier.worlds.browser import PAGES, At, browse


def test_every_page_can_be_quoted() -> None:
    assert [browse(way + "q").quotes for way in ("s1", "s2", "ss1", "ss2")] == [(page,) for page in range(PAGES)]
    assert browse("sss1q").quotes == (0,), "after the last results come the first"
    assert browse("s1q2q").quotes == (0, 1)
    assert browse("s1qq").quotes == (0, 0)


def test_what_cannot_be_done_does_nothing() -> None:
    assert browse("12q") == At()
    assert browse("sq") == browse("s")
    assert browse("s1s").page is None, "a search closes the page"
    with pytest.raises(ValueError, match="'x' in 'sx'"):
        browse("sx")
