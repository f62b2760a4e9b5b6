"""What the user got wrong is said in one line that names it, with exit code 2 and no traceback."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import espalier.cli
from espalier.models import from_config, train_tokenizer
from espalier.trees import Forest, Node, Score, Tree
from espalier.worlds.arithmetic import ALPHABET
from tests.tiny import config

TINY = config("qwen3", 32, 1, 1, head_dim=16, max_position_embeddings=256)

Refusal = Callable[..., str]


def answers(first: int, count: int, score: str = "correct") -> Forest:
    """Problems, each with a right and a wrong answer."""
    trees = []
    for i in range(first, first + count):
        tree = Tree(Node(f"{i}+1=\n", "prompt"), f"p{i}")
        for text, right in ((f"#{i + 1}", 1.0), ("#0", 0.0)):
            tree.root.add(Node(text, "human", stop="eos", scores={score: Score(right)}))
        trees.append(tree)
    return Forest(trees)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, rows, and judged forests."""
    folder = tmp_path_factory.mktemp("room")
    from_config(TINY, train_tokenizer([ALPHABET], kind="char")).save(folder / "model")
    (folder / "rows.jsonl").write_text(json.dumps({"prompt": "1+1=\n", "completion": "#2"}) + "\n")
    (folder / "blank.jsonl").write_text(json.dumps({"prompt": ""}) + "\n")
    answers(0, 4).write(folder / "judged")
    answers(2, 4).write(folder / "others")
    answers(0, 1).write(folder / "single")
    answers(0, 4, "reward").write(folder / "unjudged")
    return folder


@pytest.fixture
def refusal(room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that must be refused, and gives what it said."""

    def run(*words: str) -> str:
        monkeypatch.chdir(room)
        monkeypatch.setattr(sys, "argv", ["espalier", *words])
        with pytest.raises(SystemExit) as stopped:
            espalier.cli.main()
        said = capsys.readouterr().err
        assert stopped.value.code == 2, said
        assert "Traceback" not in said
        return said

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("scorer judged --score nope", "no response has both the score 'nope' and the label 'correct'"),
        ("scorer judged --score correct --label nope", "the label 'nope': {\"no score 'nope'\": 8}"),
        ("scorer single --score correct", "at least 2 problems, found 1"),
        ("scorer nowhere", "nowhere: found no such file"),
        ("scorer rows.jsonl", "'value'"),
        ("policy judged unjudged", "no answer has the score 'correct'; score the forest"),
        ("policy judged others", "2 are only in A ['p0', 'p1'], 2 only in B ['p4', 'p5']"),
        ("policy judged judged -k 4", "pass@4: none of 4 problems has that many samples"),
        ("policy judged judged -k 0", "1 <= k <= n, found n=2, c=1, k=0"),
    ],
)
def test_an_audit_that_cannot_be_made_names_what_it_lacks(refusal: Refusal, words: str, said: str) -> None:
    assert said in refusal("audit", *words.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--max-tokens 0", "max_tokens must be at least 1, found 0"),
        ("--temperature -1", "temperature must not be negative"),
        ("--top-p 2", "top_p must be in (0, 1], found 2"),
        ("-n 0", "n must be at least 1, found 0"),
        ("--data blank.jsonl", "a prefix has no token"),
        ("--data nowhere.jsonl", "nowhere.jsonl: found no such file"),
        ("--model nowhere/at/all", "nowhere/at/all: no such folder"),
        ("--out rows.jsonl/samples", "rows.jsonl/samples"),
        ("--out judged --data judged --columns prompt=x", "columns= are for tables"),
    ],
)
def test_what_cannot_be_sampled_says_why(refusal: Refusal, flags: str, said: str, tmp_path: Path) -> None:
    given = {"--model": "model", "--data": "rows.jsonl", "--out": str(tmp_path / "samples")}
    words = flags.split()
    for flag, value in given.items():
        words += [flag, value] if flag not in words else []
    assert said in refusal("sample", *words)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--scorer nope", "scorer 'nope': not a folder, and none of exact"),
        ("--scorer format:(", "'(' is not a regular expression"),
        ("--scorer model", "neither a value nor a reward head"),
    ],
)
def test_a_scorer_that_is_none_says_what_there_is(refusal: Refusal, flags: str, said: str, tmp_path: Path) -> None:
    assert said in refusal("score", "judged", *flags.split(), "--out", str(tmp_path / "scored"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--scorer", "exact", "--width", "0"], "width must be at least 1, found 0"),
        (["--scorer", "exact", "--step", "\\x"], "--step"),
        (["--scorer", "exact", "--limit", "0"], "the forest is empty"),
    ],
)
def test_a_beam_that_cannot_grow_says_why(refusal: Refusal, flags: list[str], said: str) -> None:
    beam = ("search", "--strategy", "beam", "--model", "model", "--data", "rows.jsonl", "--out", "beam")
    assert said in refusal(*beam, *flags)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("nonsense", "'nonsense' is not an assignment"),
        ("=1", "unknown key ''"),
        ("training=5", "'training' is a table of settings"),
        ("data=x", "'data' is a table of settings"),
        ("training.lr=fast", "lr: found 'fast'"),
        ("training.lr.peak=1", "lr: found {'peak': 1}"),
        ("training.batch_size=0", "batch_size: found 0"),
        ("training.epochs=1 training.steps=1", "either steps or epochs"),
        ("data.format=parquet", "format: found 'parquet'"),
        ("recipe.[bold]=1", "unknown key '[bold]'"),
    ],
)
def test_settings_that_make_no_sense_are_named(refusal: Refusal, assignment: str, said: str) -> None:
    train = ("train", "sft", "--model", "model", "--data", "rows.jsonl", "--out", "run")
    assert said in refusal(*train, "--set", *assignment.split())


def test_a_folder_that_cannot_be_written_is_named(refusal: Refusal) -> None:
    train = ("train", "sft", "--model", "model", "--data", "rows.jsonl")
    assert "rows.jsonl: cannot be a run folder" in refusal(*train, "--out", "rows.jsonl")
    assert "rows.jsonl/run: cannot be a run folder" in refusal(*train, "--out", "rows.jsonl/run")
    assert "judged: exists and is no run folder" in refusal(*train, "--out", "judged")
    assert "rows.jsonl" in refusal("audit", "scorer", "judged", "--score", "correct", "--out", "rows.jsonl/audit")


def test_what_cannot_be_viewed_is_named_whatever_brackets_it_holds(refusal: Refusal) -> None:
    assert "runs/[bold]x[/bold]: found no such file" in refusal("view", "runs/[bold]x[/bold]")
    assert "has trees 0 to 3, found --tree 9" in refusal("view", "judged", "--tree", "9")
    assert "rows.txt" in refusal("view", "rows.txt")


def test_chats_are_read_with_the_template_of_the_model(refusal: Refusal, room: Path) -> None:
    chat = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "#2"}]
    (room / "chats.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    for command in (("train", "sft"), ("sample",)):
        said = refusal(*command, "--model", "model", "--data", "chats.jsonl", "--out", "chats")
        assert "the tokenizer has no chat template" in said


@pytest.mark.parametrize("words", ["trian sft", "view judged --three 3", "sample --model model", "sample -n many"])
def test_a_command_line_that_does_not_parse_ends_with_the_same_code(refusal: Refusal, words: str) -> None:
    assert refusal(*words.split())


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_engine_that_is_not_installed_is_named(refusal: Refusal) -> None:
    said = refusal("sample", "--engine", "vllm", "--model", "model", "--data", "rows.jsonl", "--out", "served")
    assert "pip install vllm" in said
