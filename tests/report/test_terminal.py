"""Tables and trees in the terminal."""

from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console

from espalier.report import Report, print_tables, tree_text
from espalier.report.colour import Scale
from espalier.trees import Node, Score, Tree


def printed(report: Report) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_tables(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_tables_have_every_row_with_its_interval(report: Report) -> None:
    shown = printed(report)
    for row in report.rows:
        assert row.name in shown
    assert "[58.1, 68.7]" in shown
    assert "[-1.5, +4.3]  includes zero" in shown
    assert "0.842 [0.828, 0.856]" in shown


def test_a_name_is_printed_as_it_is_and_not_read_as_markup() -> None:
    assert "[bold]run[/nothing]" in printed(Report("[bold]run[/nothing]"))


def test_a_tree_shows_values_verdicts_and_the_answer_chosen(report: Report) -> None:
    shown = report.trees[0]
    lines = tree_text(shown.tree, chosen=shown.chosen).plain.splitlines()
    assert lines[0] == "● Compute (7 + 5) * 3 - 4."
    assert len(lines) == 1 + 8 * 4
    assert sum(line.endswith("Answer: 32 ✓") for line in lines) == 2
    assert sum(line.endswith("Answer: 32 ✓ ◀") for line in lines) == 1
    assert lines[-1].endswith("(cut) ✗")


def test_no_line_of_a_tree_is_wider_than_asked(report: Report) -> None:
    for width in (40, 60):
        for shown in report.trees[:1]:
            text = tree_text(shown.tree, width=width, chosen=shown.chosen)
            assert max(cell_len(line) for line in text.plain.splitlines()) <= width


def test_escape_sequences_that_a_model_wrote_do_not_reach_the_terminal() -> None:
    root = Node("clear\x1b[2Jthe screen \ud800", "prompt")
    root.add(Node("\x1b]0;owned\x07", scores={"value": Score(0.5)}))
    text = tree_text(Tree(root)).plain
    assert "\x1b" not in text
    assert "\x07" not in text
    text.encode()


def test_a_missing_score_is_not_drawn_as_a_value() -> None:
    root = Node("2+2=", "prompt")
    root.add(Node("4", scores={"value": Score.absent("crash")}))
    assert tree_text(Tree(root)).plain.splitlines()[1] == "└─   -    4"


def test_the_colour_scale_has_its_middle_where_it_means_something() -> None:
    probabilities, rewards = Scale.of([0.1, 0.7]), Scale.of([-1.0, 4.0])
    assert probabilities.colour(0.5) == rewards.colour(0.0)
    assert rewards.colour(9.0) == rewards.colour(4.0)
    assert Scale.of([]) == Scale(0.0, 1.0)
