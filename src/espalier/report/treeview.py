"""A tree to browse: an overview of dots, and an outline that opens to the text of each step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from espalier.report.branches import Branch, branches
from espalier.report.colour import Scale
from espalier.report.figures import number
from espalier.report.parts import ShownTree
from espalier.report.strips import Strip, Strips
from espalier.report.svg import tag
from espalier.trees import Node, Tree

STOPPED = {
    "eos": "the author ended the response here",
    "stop": "paused at a stop string",
    "length": "cut by the token limit",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What the page shows of a node."""

    id: str
    text: str
    author: str
    value: float | None
    shown: str
    colour: str
    ink: str
    missing: str
    facts: list[tuple[str, str]]
    verdict: str
    chosen: bool
    strips: list[Strip]


@dataclass(frozen=True, slots=True)
class Outline:
    """A branch of the outline.

    Attributes:
        steps: of the branch.
        closes: how many open branches end before it.
        open: whether it is on the way to a chosen ending.
        endings: how many endings hang below (1 for a branch that is one).
    """

    steps: list[Step]
    closes: int
    open: bool
    endings: int


class TreeView:
    """Everything the page's template asks of a shown tree."""

    def __init__(self, shown: ShownTree, index: int) -> None:
        self.shown, self.tree, self.index = shown, shown.tree, index
        values = [value for node in self.tree.walk() if (value := node.value(shown.score)) is not None]
        self.scale = Scale.of(values)
        self.chosen = {id(node) for node in shown.chosen}
        self.names = {id(node): f"t{index}n{i}" for i, node in enumerate(self.tree.walk())}
        self.title = shown.title or self.tree.id or f"problem {index + 1}"
        self.leaves = self.tree.leaves()
        self.right = sum(self.verdict(leaf) == "correct" for leaf in self.leaves)
        self.judged = sum(self.verdict(leaf) != "" for leaf in self.leaves)
        self.tokens = sum(len(node.token_ids or ()) for node in self.tree.walk() if node is not self.tree.root)
        self.answer = self.tree.meta.get("answer")
        ways = [node for leaf in shown.chosen for node in leaf.path()]
        self.taken = {id(node) for node in ways}
        self.below = self._endings()
        self.strips = Strips(self.tree)
        self.rounds = rounds(self.tree)

    def _endings(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for node in reversed(list(self.tree.walk())):
            counts[id(node)] = sum(counts[id(child)] for child in node.children) or 1
        return counts

    def verdict(self, node: Node) -> str:
        """`correct` or `wrong`, or "" where nobody said."""
        value = node.value(self.shown.correct)
        return "" if value is None else "correct" if value > 0.5 else "wrong"

    def step(self, node: Node) -> Step:
        score = node.scores.get(self.shown.score)
        value = None if score is None else score.value
        facts = []
        if score is not None and score.spread is not None:
            facts.append((f"± {number(score.spread)}", "one standard deviation of the value"))
        if "visits" in node.meta:
            facts.append((f"{node.meta['visits']} visits", "how often the search came through here"))
        if node.token_ids is not None:
            facts.append((f"{len(node.token_ids)} tokens", "length of this step"))
        if node.is_leaf and node.stop is not None:
            facts.append((node.stop, STOPPED[node.stop]))
        for name, other in node.scores.items():
            if name not in (self.shown.score, self.shown.correct):
                written = "missing" if other.value is None else number(other.value)
                facts.append((f"{name} {written}", other.missing or "another score"))
        return Step(
            id=self.names[id(node)],
            text=node.text,
            author=node.author,
            value=value,
            shown="-" if value is None else f"{value:.2f}",
            colour="" if value is None else self.scale.colour(value),
            ink="" if value is None else self.scale.ink(value),
            missing="" if value is not None else (score.missing or "" if score else "this step was not scored"),
            facts=facts,
            verdict=self.verdict(node),
            chosen=id(node) in self.chosen,
            strips=self.strips.of(node),
        )

    def outline(self) -> list[Outline]:
        """The branches in order; the template opens one for each and closes as many as each says."""
        lines, level = [], 0
        for branch in branches(self.tree):
            lines.append(self._line(branch, level - branch.level + 1))
            level = branch.level
        return lines

    def _line(self, branch: Branch, closes: int) -> Outline:
        nodes = branch.nodes
        is_open = id(nodes[0]) in self.taken
        return Outline([self.step(node) for node in nodes], closes, is_open, self.below[id(nodes[-1])])

    @property
    def depth(self) -> int:
        """Of the deepest branch: how many stay open when the outline ends."""
        found = branches(self.tree)
        return found[-1].level if found else 0

    def overview(self) -> Markup:
        """Dots for nodes, coloured by value, from the prompt at the left to the endings; each links to its text."""
        depths: dict[int, int] = {}
        heights: dict[int, float] = {}
        for node in self.tree.walk():
            depths[id(node)] = 0 if node.parent is None else depths[id(node.parent)] + 1
        for row, leaf in enumerate(self.tree.root.leaves()):
            heights[id(leaf)] = row
        for node in reversed(list(self.tree.walk())):
            if node.children:
                heights[id(node)] = (heights[id(node.children[0])] + heights[id(node.children[-1])]) / 2
        across = max(18.0, min(120.0, 820 / max(1, *depths.values())))
        down = 21 if len(self.leaves) <= 16 else 17
        spots = {key: (14 + across * depth, 14 + down * heights[key]) for key, depth in depths.items()}
        width, least = (44 + step * max(depths.values()) for step in (across, 18))
        height = 28 + down * max(heights.values())
        edges, dots = [], []
        for node in self.tree.walk():
            x, y = spots[id(node)]
            grown = self.rounds[id(node)]
            if node.parent is not None:
                px, py = spots[id(node.parent)]
                middle = (px + x) / 2
                kind = "edge taken" if id(node) in self.taken else "edge"
                path = f"M{px:.1f} {py:.1f}C{middle:.1f} {py:.1f} {middle:.1f} {y:.1f} {x:.1f} {y:.1f}"
                edges.append(tag("path", kind, d=path, data_round=grown))
            dots.append(self._dot(node, x, y, grown))
        return Markup(
            '<svg class="overview" viewBox="0 0 {0:.0f} {1:.0f}" style="max-width:{0:.0f}px;min-width:{2:.0f}px" '
            'role="group" aria-label="The tree of {3}">{4}{5}</svg>'
        ).format(width, height, least, self.title, Markup("").join(edges), Markup("").join(dots))

    def replay(self) -> list[tuple[int, int]]:
        """After each round of the search: the nodes that stand, and the tokens sampled for them."""
        grown: dict[int, tuple[int, int]] = {}
        for node in self.tree.walk():
            nodes, tokens = grown.get(self.rounds[id(node)], (0, 0))
            sampled = 0 if node.parent is None else len(node.token_ids or ())
            grown[self.rounds[id(node)]] = (nodes + 1, tokens + sampled)
        counts = [grown.get(number, (0, 0)) for number in range(max(grown) + 1)]
        return list(accumulate(counts, lambda so_far, new: (so_far[0] + new[0], so_far[1] + new[1])))

    def _dot(self, node: Node, x: float, y: float, grown: int) -> Markup:
        step = self.step(node)
        parts = []
        if step.chosen:
            parts.append(tag("circle", "ring", cx=x, cy=y, r=9.5))
        if node is self.tree.root:
            parts.append(tag("rect", "dot root", x=x - 6, y=y - 6, width=12, height=12, rx=3))
        elif step.value is None:
            parts.append(tag("circle", "dot missing", cx=x, cy=y, r=6))
        else:
            parts.append(tag("circle", "dot", cx=x, cy=y, r=6, fill=step.colour))
        if node.ends_response and step.verdict:
            mark = "✓" if step.verdict == "correct" else "✗"
            parts.append(tag("text", f"verdict {step.verdict}", mark, x=x + 13, y=y + 4.5))
        text = " ".join(node.text.split())
        tip = f"{step.shown} · {text[:160]}{'…' if len(text) > 160 else ''}"
        return Markup('<a href="#{}" data-tip="{}" aria-label="{}" data-round="{}">{}</a>').format(
            step.id, tip, tip[:80], grown, Markup("").join(parts)
        )


def rounds(tree: Tree) -> dict[int, int]:
    """When each node was grown, by `id`: the search's round, counted from 1 over those that grew something.

    Where nobody wrote it down (`meta["round"]`), the depth: one step more a round.
    """
    known = sorted({node.meta["round"] for node in tree.walk() if "round" in node.meta})
    place = {number: index + 1 for index, number in enumerate(known)}
    grown: dict[int, int] = {}
    for node in tree.walk():
        above = 0 if node.parent is None else grown[id(node.parent)]
        if node.parent is None:
            grown[id(node)] = 0
        elif known:
            grown[id(node)] = place[node.meta["round"]] if "round" in node.meta else above
        else:
            grown[id(node)] = above + 1
    return grown
