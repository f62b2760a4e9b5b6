"""A forest on disk is the forest in memory, and a crash costs at most what was not finished."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.errors import DataError, EspalierError
from espalier.trees import AUTHORS, STOPS, Forest, ForestWriter, Node, Score, Tree, open_forest, put_stream
from espalier.trees.parquet import GROUP_NODES, write

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
META = st.dictionaries(st.text(), JSON, max_size=2)
SCORES = st.builds(Score, st.floats(allow_nan=False), st.none() | st.floats(0, allow_nan=False), st.none()) | st.builds(
    Score.absent, st.text()
)


@st.composite
def random_trees(draw: st.DrawFn) -> Tree:
    def node() -> Node:
        ids = draw(st.none() | st.lists(st.integers(0, 2**31 - 1), max_size=3))
        logprobs = draw(st.none() | st.lists(st.floats(max_value=0, width=32), max_size=3))
        return Node(
            draw(st.text()),
            draw(st.sampled_from(AUTHORS)),
            ids,
            logprobs,
            draw(st.sampled_from((None, *STOPS))),
            draw(st.dictionaries(st.text(), SCORES, max_size=2)),
            draw(META),
        )

    nodes = [node()]
    for _ in range(draw(st.integers(0, 4))):
        nodes.append(draw(st.sampled_from(nodes)).add(node()))
    for each in nodes:
        if all(segment.token_ids is not None for segment in each.path()):
            for name in draw(st.lists(st.text(), max_size=2)):
                count = len(each.token_ids or [])
                put_stream(each, name, draw(st.lists(st.floats(width=32), min_size=count, max_size=count)))
    return Tree(nodes[0], draw(st.text()), draw(META))


def facts(tree: Tree) -> tuple[object, ...]:
    """Everything that a tree says, in a form that `==` compares."""
    nodes = list(tree.walk())
    place = {id(node): i for i, node in enumerate(nodes)}
    return (
        tree.id,
        tree.meta,
        [
            (
                None if node.parent is None else place[id(node.parent)],
                [place[id(child)] for child in node.children],
                (node.text, node.author, node.token_ids, node.logprobs, node.stop),
                list(node.scores.items()),
                node.meta,
                [(name, repr(stream.values.tolist()), stream.path) for name, stream in node.streams.items()],
            )
            for node in nodes
        ],
    )


def small(i: int, nodes: int = 3) -> Tree:
    tree = Tree(Node(f"question {i}", "prompt"), f"t:{i}")
    for k in range(nodes - 1):
        tree.root.add(Node(f"answer {k}", stop="eos"))
    return tree


@settings(max_examples=40, deadline=None)
@given(st.lists(random_trees(), max_size=4))
def test_any_forest_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, forest: list[Tree]) -> None:
    path = tmp_path_factory.mktemp("forest") / "f.parquet"
    Forest(forest).write(path)
    assert [facts(tree) for tree in open_forest(path)] == [facts(tree) for tree in forest]


def test_missing_null_empty_and_zero_stay_four_things(tmp_path: Path) -> None:
    scores = {"a": Score(0.0), "b": Score.absent(""), "c": Score.absent("timed out"), "d": Score(-0.5, spread=0.0)}
    root = Node("", "prompt", token_ids=[], logprobs=None, scores=scores)
    root.add(Node("", token_ids=None, logprobs=[]))
    Forest([Tree(root)]).write(tmp_path / "f.parquet")
    back = open_forest(tmp_path / "f.parquet")[0].root
    assert back.scores == scores
    assert (back.token_ids, back.logprobs) == ([], None)
    assert (back.children[0].token_ids, back.children[0].logprobs) == (None, [])


def test_a_file_from_before_there_were_streams_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    Forest([small(0)]).write(path)
    pl.read_parquet(path).drop("streams").write_parquet(path)
    assert [facts(tree) for tree in open_forest(path)] == [facts(small(0))]


def test_trees_are_found_by_place_across_row_groups_and_shards(tmp_path: Path) -> None:
    with ForestWriter(tmp_path / "forest", shard_nodes=GROUP_NODES * 2) as writer:
        for i in range(2000):
            writer.write(small(i))
    assert len(list((tmp_path / "forest").glob("part-*.parquet"))) == 3
    forest = open_forest(tmp_path / "forest")
    assert len(forest) == 2000
    assert [forest[i].id for i in (0, 341, 342, 700, 1999, -1)] == [f"t:{i}" for i in (0, 341, 342, 700, 1999, 1999)]
    assert [tree.id for tree in forest] == [f"t:{i}" for i in range(2000)]
    assert [tree.id for tree in forest[998:1002]] == ["t:998", "t:999", "t:1000", "t:1001"]
    with pytest.raises(IndexError, match="2000"):
        forest[2000]


def test_a_row_group_holds_whole_trees_even_one_larger_than_it(tmp_path: Path) -> None:
    write([small(0), small(1, nodes=GROUP_NODES * 2), small(2)], tmp_path / "f.parquet")
    assert [len(tree.leaves()) for tree in open_forest(tmp_path / "f.parquet")] == [2, GROUP_NODES * 2 - 1, 2]


def test_a_stopped_job_goes_on_where_it_was(tmp_path: Path) -> None:
    with ForestWriter(tmp_path / "forest") as writer:
        for i in range(5):
            writer.write(small(i))
    with pytest.raises(EspalierError, match="append=True"):
        ForestWriter(tmp_path / "forest")
    with ForestWriter(tmp_path / "forest", append=True) as writer:
        for i in range(len(writer), 8):
            writer.write(small(i))
    assert [tree.id for tree in open_forest(tmp_path / "forest")] == [f"t:{i}" for i in range(8)]
    assert pl.read_parquet(tmp_path / "forest" / "*.parquet")["tree"].unique().to_list() == list(range(8))


def test_shards_are_in_order_past_five_digits(tmp_path: Path) -> None:
    with ForestWriter(tmp_path, shard_seconds=0) as writer:
        for i in range(2):
            writer.write(small(i))
    (tmp_path / "part-00001.parquet").rename(tmp_path / "part-100000.parquet")
    (tmp_path / "part-00000.parquet").rename(tmp_path / "part-99999.parquet")
    with ForestWriter(tmp_path, append=True) as writer:
        writer.write(small(2))
    assert (tmp_path / "part-100001.parquet").exists()
    assert [tree.id for tree in open_forest(tmp_path)] == ["t:0", "t:1", "t:2"]


JOB = """
import sys
from espalier.trees import ForestWriter, Node, Tree
with ForestWriter(sys.argv[1], append=True, shard_nodes=3000) as writer:
    i = len(writer)
    while True:
        tree = Tree(Node(f"question {i}", "prompt"), f"t:{i}")
        tree.root.add(Node("answer " * 20, stop="eos"))
        writer.write(tree)
        i += 1
"""


def test_kill_9_in_mid_write_leaves_finished_shards_whole_and_the_next_writer_clears_up(tmp_path: Path) -> None:
    folder = tmp_path / "forest"
    for shards in (2, 4):  # killed, resumed, killed again
        job = subprocess.Popen([sys.executable, "-c", JOB, str(folder)])
        give_up = time.monotonic() + 60
        while len(list(folder.glob("part-?????.parquet"))) < shards or not list(folder.glob("*.tmp")):
            assert time.monotonic() < give_up, "the job wrote nothing"
            assert job.poll() is None
            time.sleep(0.002)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
    (folder / "part-00099.parquet.tmp").write_bytes(b"PAR1 half a shard")  # had the kill come between two shards
    forest = open_forest(folder)
    done = len(forest)
    assert done >= 6000
    assert [tree.id for tree in forest] == [f"t:{i}" for i in range(done)]
    with ForestWriter(folder, append=True) as writer:
        assert len(writer) == done
        assert not list(folder.glob("*.tmp"))
        writer.write(small(done))
    assert open_forest(folder)[-1].id == f"t:{done}"


def test_an_exception_keeps_the_trees_of_a_folder_and_drops_a_half_written_file(tmp_path: Path) -> None:
    def stopped(path: Path) -> None:
        with ForestWriter(path) as writer:
            for i in range(1000):
                writer.write(small(i))
            raise KeyboardInterrupt

    for name in ("forest", "f.parquet"):
        with pytest.raises(KeyboardInterrupt):
            stopped(tmp_path / name)
    assert len(open_forest(tmp_path / "forest")) == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["forest"]


def test_time_closes_a_shard_so_that_slow_work_is_safe(tmp_path: Path) -> None:
    writer = ForestWriter(tmp_path / "forest", shard_seconds=0)
    writer.write(small(0))
    assert len(open_forest(tmp_path / "forest")) == 1  # the writer is still open
    writer.close()


def test_a_forest_can_replace_the_file_that_it_is_read_from(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    Forest([small(i) for i in range(1000)]).write(path)
    open_forest(path).filter(lambda tree: tree.id.endswith("7")).write(path)
    stored = open_forest(path)
    Forest(tree for tree in stored if tree.id != "t:7").write(path)
    assert (len(stored), stored[0].id, open_forest(path)[0].id) == (100, "t:7", "t:17")


@pytest.mark.parametrize("name", ["forest", "f.parquet"])
def test_a_forest_without_trees_is_stored_too(tmp_path: Path, name: str) -> None:
    Forest().write(tmp_path / name)
    assert len(open_forest(tmp_path / name)) == 0
    assert list(open_forest(tmp_path / name)) == []


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (Node("half \ud83d"), "surrogates"),
        (Node("x", author="robot"), "'robot' is not one of"),  # type: ignore[arg-type]
        (Node("x", stop="end"), "'end' is not one of"),  # type: ignore[arg-type]
        (Node("x", token_ids=[2**40]), "greater than maximum"),
        (Node("x", token_ids=["7"]), "integer"),  # type: ignore[list-item]
        (Node("x", meta={"when": object()}), "JSON"),
        (Node(None), "NoneType"),  # type: ignore[arg-type]
    ],
)
def test_a_tree_that_cannot_be_stored_is_named_and_harms_no_other(tmp_path: Path, node: Node, says: str) -> None:
    bad = small(1)
    bad.root.add(node)
    with ForestWriter(tmp_path / "forest") as writer:
        writer.write(small(0))
        with pytest.raises(EspalierError, match=rf"tree 't:1' \(number 1\), node 3, .*{says}"):
            writer.write(bad)
        writer.write(small(2))
    assert [tree.id for tree in open_forest(tmp_path / "forest")] == ["t:0", "t:2"]


FULL = """
import resource, sys
from espalier.errors import EspalierError
from espalier.trees import ForestWriter, Node, Tree
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # a disk with room for a few row groups
try:
    with ForestWriter(sys.argv[1], shard_nodes=8000) as writer:
        for i in range(20_000):
            big = "x" if i < 10_000 else str(i ** 70)
            tree = Tree(Node(f"{big} {i}", "prompt"), f"t:{i}")
            writer.write(tree)
except EspalierError as error:
    print(len(writer), error)
"""


@pytest.mark.parametrize(("name", "kept"), [("forest", 8000), ("f.parquet", 0)])
def test_a_full_disk_is_a_clear_error_and_leaves_only_finished_shards(tmp_path: Path, name: str, kept: int) -> None:
    job = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / name)], capture_output=True, text=True, check=True)
    assert job.stderr == ""
    assert job.stdout.startswith(f"{kept} cannot write ")
    assert "File too large" in job.stdout
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "f.parquet").exists()
    if kept:
        assert len(open_forest(tmp_path / name)) == kept


def test_a_path_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "forest", tmp_path / "file" / "f.parquet"):
        with pytest.raises(EspalierError, match=r"cannot write .*/file/f"):
            Forest([small(0)]).write(path)


def test_what_espalier_did_not_write_is_refused_with_the_missing_columns(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a"], "id": ["b"]}).write_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match="no columns tree, node, parent, author, token_ids"):
        open_forest(tmp_path / "table.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 half a file")
    with pytest.raises(DataError, match=r"cut.parquet: found an unreadable file"):
        open_forest(tmp_path / "cut.parquet")
    with pytest.raises(DataError, match="no such file"):
        open_forest(tmp_path / "none.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"a folder without .parquet files"):
        open_forest(tmp_path / "empty")


def test_a_file_that_another_tool_rewrote_is_read_or_refused_but_never_wrongly_joined(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    Forest([small(i) for i in range(50)]).write(path)
    rows = pl.read_parquet(path)

    rows.filter(pl.col("id") != "t:7").write_parquet(path, row_group_size=7)  # cuts trees in two
    assert [tree.id for tree in open_forest(path)] == [f"t:{i}" for i in range(50) if i != 7]
    assert open_forest(path)[30].leaves()[1].response() == "answer 1"

    rows.filter((pl.col("tree") != 3) | (pl.col("node") != 1)).write_parquet(path)
    with pytest.raises(DataError, match=r"line 11, field 'node': found node 2 with parent 0, expected node 1"):
        open_forest(path).load()
    rows.with_columns(author=pl.lit("robot")).write_parquet(path)
    with pytest.raises(DataError, match="field 'author': found 'robot', expected one of prompt, policy"):
        open_forest(path).load()
    rows.slice(1).write_parquet(path)
    with pytest.raises(DataError, match="which begins with a root"):
        open_forest(path)


def test_iteration_streams_instead_of_loading(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    with ForestWriter(path) as writer:
        for i in range(20_000):
            writer.write(small(i, nodes=2))
    alive = 0
    for i, _ in enumerate(open_forest(path)):
        if i == 15_000:
            alive = sum(1 for thing in gc.get_objects() if isinstance(thing, Tree))
    assert alive < 3 * GROUP_NODES, f"{alive} trees in memory"


def test_loading_searches_for_garbage_once_however_many_nodes_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.trees.stored.MANY_NODES", 20_000)
    path = tmp_path / "f.parquet"
    with ForestWriter(path) as writer:
        for i in range(10_000):
            writer.write(small(i, nodes=2))
    dropped = open_forest(path).load()  # its parents and children hold each other, so only the collector frees it
    del dropped
    stored = open_forest(path)
    searches: list[int] = []

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            searches.append(info["generation"])

    gc.callbacks.append(count)
    try:
        forest = stored.load()
    finally:
        gc.callbacks.remove(count)
    assert searches[0] == 2
    assert searches.count(2) == 1, searches
    assert len(searches) <= 3, searches
    assert gc.isenabled()
    assert len(forest) == 10_000
    alive = sum(1 for thing in gc.get_objects() if isinstance(thing, Tree))
    assert alive < 15_000, f"{alive} trees in memory"
