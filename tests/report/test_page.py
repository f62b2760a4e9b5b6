"""The page: everything is on it, nothing is fetched for it, and no text in it can act."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from espalier.report import Curve, Report, ShownTree, write_html
from espalier.report.html import page
from espalier.report.plots import training_chart
from espalier.report.strips import Strips
from espalier.report.svg import Axis, Frame
from espalier.report.treeview import TreeView
from espalier.trees import Node, Score, Tree, put_stream
from espalier.trees.streams import TOKEN_ENDS


class Parsed(HTMLParser):
    """Every element with its attributes, and the text of the whole page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.depth += tag == "details"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "details"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page(report)


def test_every_part_of_the_report_is_on_the_page(text: str, report: Report) -> None:
    said = Parsed(text).text
    for expected in (
        report.title,
        report.summary,
        "63.4 %",
        "[58.1, 68.7]",
        "+1.4 [-1.5, +4.3]",
        "includes zero",
        "0.842 [0.828, 0.856]",
        "0.637 [0.619, 0.655]",
        "how far the updates moved from the sampler",
        "k3 of old against new",
        "Answer: 32",
        "the verifier timed out",
        "[recipe]",
    ):
        assert expected in said


def test_a_part_without_data_is_left_out() -> None:
    said = page(Report("bare"))
    ids = {attributes.get("id") for _, attributes in Parsed(said).elements}
    assert not ids & {"results", "compute", "trees", "scorers", "training", "settings"}


def test_the_page_asks_nothing_of_a_network(text: str) -> None:
    for tag, attributes in Parsed(text).elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)


def test_no_text_of_a_model_becomes_an_element(text: str, report: Report, hostile: str) -> None:
    parsed = Parsed(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert hostile in parsed.text
    everywhere = Report(
        hostile, hostile, {hostile: hostile}, settings=hostile, training={hostile: [{"step": 1, hostile: 1.0}]}
    )
    everywhere.curves = [Curve(hostile, [1.0, 2.0], [0.1, 0.2], [0.0, 0.1], [0.2, 0.3])]
    everywhere.trees = [ShownTree(Tree(Node(hostile, "prompt"), hostile, {"answer": hostile}), title=hostile)] * 2
    elements = Parsed(page(everywhere)).elements
    assert [tag for tag, _ in elements].count("script") == 1
    assert not any(tag == "img" for tag, _ in elements)


def test_every_branch_that_is_opened_is_closed_and_every_link_leads_somewhere(text: str) -> None:
    parsed = Parsed(text)
    assert parsed.depth == 0
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in parsed.elements if tag == "a" and attributes["href"]}
    assert links <= set(ids)


def test_a_tree_deeper_than_pythons_stack_is_drawn() -> None:
    node = root = Node("start", "prompt")
    for depth in range(1500):
        node.add(Node(f"dead end {depth}", scores={"value": Score(0.1)}))
        node = node.add(Node(f"step {depth}", scores={"value": Score(0.9)}))
    assert "step 1499" in page(Report("deep", trees=[ShownTree(Tree(root))]))


def test_the_page_appears_whole_or_not_at_all(tmp_path: Path, report: Report) -> None:
    path = write_html(report, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_browser_runs_the_page_without_a_complaint(tmp_path: Path, report: Report) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    path = write_html(report, tmp_path / "report.html")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --dump-dom"
    done = subprocess.run(
        [chromium, *flags.split(), "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'browser'}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    assert "<title>demo-arithmetic · Espalier</title>" in done.stdout
    # The script ran: of the two trees, it hides the one that is not picked.
    assert re.search(r'<article class="tree" id="tree1"[^>]* hidden', done.stdout)
    assert not re.search(r'<article class="tree" id="tree0"[^>]* hidden', done.stdout)


def test_a_value_that_is_not_finite_breaks_the_line_and_does_not_become_a_number() -> None:
    values = [1.0, 2.0, float("nan"), 3.0, 4.0]
    drawn = training_chart("loss", [{"step": float(i), "loss": v} for i, v in enumerate(values)], "nats")
    assert drawn is not None
    assert drawn.count("<polyline") == 2
    assert "nan" not in drawn
    assert training_chart("loss", [{"step": 0, "loss": float("inf")}], "nats") is None


def test_a_metric_is_drawn_over_the_steps_that_have_it() -> None:
    rows: list[dict[str, float]] = [{"step": 1, "loss": 1.0}, {"step": 2, "reward": 0.5}, {"step": 3, "loss": 0.5}]
    drawn = training_chart("loss", rows, "nats")
    assert drawn is not None
    (points,) = re.findall(r'points="([^"]*)"', drawn)[1:]  # after the band
    assert len(points.split()) == 2


def test_equal_ratios_are_equally_far_apart_on_a_log_axis() -> None:
    frame = Frame(Axis(10, 1000, "tokens", log=True), Axis(0, 1, "accuracy"), (400, 300))
    assert frame.x(100) - frame.x(10) == pytest.approx(frame.x(1000) - frame.x(100))
    assert frame.y(0.25) > frame.y(0.75)


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e-9, 2e-9], [-3.0, 8.0], [1e6, 1e6 + 1]])
@pytest.mark.parametrize("log", [False, True])
def test_every_axis_has_room_and_a_few_ticks(values: list[float], log: bool) -> None:
    axis = Axis.around(values, "x", log=log)
    assert axis.low < axis.high
    assert all(0 <= axis.share(tick) <= 1 for tick in axis.ticks())
    assert len(axis.ticks()) <= 12


def test_tokens_are_coloured_by_what_they_carry(text: str) -> None:
    strips = [attributes for tag, attributes in Parsed(text).elements if "data-strip" in attributes]
    assert {strip["data-strip"] for strip in strips} == {"log-prob as sampled", "value", "advantage"}
    shown = ShownTree(Tree(Node("2+2=", "prompt", token_ids=[1])))
    leaf = shown.tree.root.add(Node("4!", token_ids=[2, 3], logprobs=[math.log(0.9), math.log(0.01)]))
    put_stream(leaf, TOKEN_ENDS, [1, 2])
    [strip] = Strips(shown.tree).of(leaf)
    assert [(token.text, token.heat) for token in strip.tokens] == [("4", 18), ("!", 0)]


def test_a_text_without_known_token_ends_has_no_strip() -> None:
    tree = Tree(Node("2+2=", "prompt"))
    leaf = tree.root.add(Node("4!", token_ids=[2, 3], logprobs=[-0.1, -0.2]))
    assert Strips(tree).of(leaf) == []


def test_a_search_is_replayed_in_the_rounds_that_it_grew_in(report: Report) -> None:
    beam = TreeView(report.trees[1], 0)
    counts = beam.replay()
    assert len(counts) == 1 + 5  # the prompt, and five rounds, numbered 0, 3, ... by the search
    assert counts[-1] == (len(list(beam.tree.walk())), beam.tokens)
    assert [nodes for nodes, _ in counts] == sorted(nodes for nodes, _ in counts)
    chain = TreeView(report.trees[0], 0)
    assert chain.rounds[id(chain.leaves[0])] == 4  # nobody wrote the rounds down: the depth
