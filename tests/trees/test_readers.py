"""Every column format becomes the tree it means, and every bad row an error that points at it."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from espalier.errors import ConfigError, DataError, ModelError
from espalier.trees import Forest, Node, Score, Tree, pairs, read

GOOD = {"prompt": "1+1=", "completion": "2"}


def jsonl(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    """Strings are written as they are, other rows as JSON."""
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def outline(tree: Tree) -> list[Any]:
    return [(node.depth, node.text, node.author, node.stop, dict(node.scores), node.meta) for node in tree.walk()]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_each_kind_of_file_gives_the_same_trees(tmp_path: Path, kind: str) -> None:
    rows = [
        {"prompt": "1+1=", "completion": "2", "label": True, "answer": "2", "model": "small"},
        {"prompt": 'Größe, "quoted"\n?', "completion": "two\nlines", "label": False, "answer": "x", "model": "big"},
    ]
    path = tmp_path / f"rows.{kind}"
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        jsonl(tmp_path, *rows, name=path.name)
    first, second = read(path)
    assert outline(first) == [
        (0, "1+1=", "prompt", None, {}, {}),
        (1, "2", "policy", "eos", {"label": Score(1.0)}, {"model": "small"}),
    ]
    assert (second.prompt, second.leaves()[0].text) == (rows[1]["prompt"], "two\nlines")
    assert second.leaves()[0].value("label") == 0.0
    assert (first.meta, second.meta) == ({"answer": "2"}, {"answer": "x"})
    assert first.id == ("rows:2" if kind == "csv" else "rows:1")
    assert second.id == ("rows:3" if kind == "csv" else "rows:2")


def test_a_judged_pair_has_the_judges_chances_and_only_its_first_response_has_the_named_writer(tmp_path: Path) -> None:
    row = {"instruction": "Count.", "output": "1 2", "baseline_output": "One", "preference": 0.25, "model": "small"}
    columns = {"prompt": "instruction", "first": "output", "second": "baseline_output"}
    (tree,) = read(jsonl(tmp_path, row), columns=columns)
    first, second = tree.leaves()
    assert [(leaf.text, leaf.value("preference")) for leaf in (first, second)] == [("1 2", 0.25), ("One", 0.75)]
    assert (first.meta, second.meta) == ({"model": "small"}, {})
    (pair,) = pairs(tree)
    assert (pair.chosen, pair.margin) == (second, 0.5)
    for wrong in (1.5, -0.1):
        with pytest.raises(DataError, match=r"field 'preference': found .*the chance that the first is better, 0 to 1"):
            read(jsonl(tmp_path, {**row, "preference": wrong}), columns=columns)


def test_a_pair_is_two_scored_leaves_with_its_margin_in_the_tree(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "good", "rejected": "bad", "margin": m, "id": i} for m, i in ((2, "a"), (None, 7))
    ]
    first, second = read(jsonl(tmp_path, *rows))
    assert outline(first)[1:] == [
        (1, "good", "human", "eos", {"preference": Score(1.0)}, {}),
        (1, "bad", "human", "eos", {"preference": Score(0.0)}, {}),
    ]
    assert (first.id, second.id) == ("a", "7")
    assert first.meta == {"margin": 2.0}
    assert "margin" not in second.meta
    (pair,) = pairs(first)
    assert (pair.chosen.text, pair.rejected.text) == ("good", "bad")


def test_labelled_steps_are_a_chain_and_a_null_label_is_missing(tmp_path: Path) -> None:
    row = {"prompt": "p", "completions": ["a", "b\n", "c", "\nd"], "labels": [True, None, 0.25, 0], "model": "m"}
    (tree,) = read(jsonl(tmp_path, row))
    chain = outline(tree)
    assert [step[:2] for step in chain] == [(0, "p"), (1, "a\n"), (2, "b\n"), (3, "c"), (4, "\nd")]
    assert [step[3] for step in chain] == [None, None, None, None, "eos"]
    scores = [step[4]["label"] for step in chain[1:]]
    assert [score.value for score in scores] == [1.0, None, 0.25, 0.0]
    assert scores[1].is_missing
    assert tree.leaves()[0].response() == "a\nb\nc\nd"
    (plain,) = read(jsonl(tmp_path, row), separator="")
    assert plain.leaves()[0].response() == "ab\nc\nd"


def test_questions_and_bare_prompts(tmp_path: Path) -> None:
    (solved,) = read(jsonl(tmp_path, {"question": "q", "answer": "a", "level": 3}))
    assert outline(solved)[1:] == [(1, "a", "human", "eos", {}, {"level": 3})]
    assert (solved.prompt, solved.meta) == ("q", {"answer": "a"})
    (bare,) = read(jsonl(tmp_path, {"prompt": "q", "answer": 4, "level": 3}))
    assert (bare.prompt, bare.leaves(), bare.meta) == ("q", [], {"answer": 4, "level": 3})
    assert read(jsonl(tmp_path, {"question": "q"}))[0].prompt == "q"


def test_columns_under_other_names(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"question": "q", "solution": "s", "is_correct": False, "truth": "t", "generator": "g"})
    columns = {"prompt": "question", "completion": "solution", "label": "is_correct", "answer": "truth"}
    (tree,) = read(path, columns={**columns, "model": "generator"})
    assert outline(tree)[1] == (1, "s", "policy", "eos", {"label": Score(0.0)}, {"model": "g"})
    assert tree.meta == {"answer": "t"}
    with pytest.raises(ConfigError, match="unknown column names lable"):
        read(path, columns={"lable": "is_correct"})
    with pytest.raises(DataError, match=r"field 'soluton': found columns .*solution.*, expected .*'completion'"):
        read(path, columns={"prompt": "question", "completion": "soluton"})


def test_chat_messages_are_rendered_by_the_template_up_to_the_last_answer(tmp_path: Path, tokenizer: Any) -> None:
    talk = [("user", "hi"), ("assistant", "hello"), ("user", "1+1?"), ("assistant", "2")]
    messages = [{"role": role, "content": content} for role, content in talk]
    prompt = "<user>hi\n<assistant>hello\n<user>1+1?\n<assistant>"
    (tree,) = read(jsonl(tmp_path, {"messages": messages}), tokenizer=tokenizer)
    assert (tree.prompt, tree.leaves()[0].text) == (prompt, "2")
    # The template writes <s> and encoding adds it; the model must see it once, as from the template alone.
    whole = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    assert tokenizer(tree.prompt).input_ids == whole

    pair = {"prompt": messages[:-1], "chosen": [messages[-1]], "rejected": [{"role": "assistant", "content": "3"}]}
    (tree,) = read(jsonl(tmp_path, pair), tokenizer=tokenizer)
    assert (tree.prompt, [leaf.text for leaf in tree.leaves()]) == (prompt, ["2", "3"])


def test_chat_messages_that_cannot_be_rendered(tmp_path: Path, tokenizer: Any) -> None:
    def chat(*messages: tuple[str, Any]) -> Path:
        return jsonl(tmp_path, {"messages": [{"role": role, "content": content} for role, content in messages]})

    with pytest.raises(ConfigError, match="pass tokenizer="):
        read(chat(("user", "hi"), ("assistant", "hello")), on_error="skip")
    plain = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ModelError, match="no chat template"):
        read(chat(("user", "hi"), ("assistant", "hello")), tokenizer=plain)
    for messages, says in (
        ([("assistant", "a"), ("user", "b")], 'a last message from "user", expected one from "assistant"'),
        ([("assistant", "a")], "an assistant message alone"),
        ([("user", "a"), ("assistant", None)], "found null, expected an assistant message with text"),
        ([("critic", "a"), ("assistant", "b")], "the chat template refuses .no critics"),
    ):
        with pytest.raises(DataError, match=f"line 1, field 'messages': found .*{says}|{says}"):
            read(chat(*messages), tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("row", "field", "found", "expected"),
    [
        ('{"prompt": "1+1=", "completion"', None, "malformed JSON", "one JSON object a line"),
        ("[1, 2]", None, "a list, [1, 2]", "one JSON object a line"),
        ({"prompt": "p"}, "completion", "no such field among prompt", "a string"),
        ({"prompt": "p", "completion": None}, "completion", "null", "a string"),
        ({"prompt": 3, "completion": "c"}, "prompt", "the number 3", "a string"),
        ({"prompt": "p", "completion": ["c"]}, "completion", 'a list, ["c"]', "a string"),
        ('{"prompt": "p", "completion": "half \\ud83d"}', "completion", "half of a surrogate pair", "valid Unicode"),
        ({"prompt": "p", "completion": "c", "id": [1]}, "id", "a list, [1]", "a string or an integer"),
        ({"prompt": "p", "completion": "c", "label": 1}, "label", "a field that the first rows lack", "one format"),
    ],
)
def test_a_bad_row_at_line_1000_is_named(tmp_path: Path, row: object, field: str, found: str, expected: str) -> None:
    path = jsonl(tmp_path, *[GOOD] * 999, row, GOOD)
    with pytest.raises(DataError) as caught:
        read(path)
    error = caught.value
    assert (error.file, error.line, error.field) == (str(path), 1000, field)
    assert error.found.startswith(found)
    assert error.expected.startswith(expected)
    forest = read(path, on_error="skip")
    assert len(forest) == 1000
    assert [str(skipped) for skipped in forest.skipped] == [str(error)]
    assert repr(forest) == "Forest(1000 trees, 1 rows skipped)"


@pytest.mark.parametrize(
    ("changed", "field", "found"),
    [
        ({"completions": []}, "completions", "an empty list"),
        ({"completions": "a"}, "completions", '"a"'),
        ({"completions": ["a", None]}, "completions", "null"),
        ({"labels": [1]}, "labels", "1 labels"),
        ({"labels": [1, "yes"]}, "labels", '"yes"'),
        ({"labels": [1, float("nan")]}, "labels", "the number NaN"),
        ({"labels": None}, "labels", "null"),
    ],
)
def test_bad_step_labels_are_named(tmp_path: Path, changed: dict[str, Any], field: str, found: str) -> None:
    row = {"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}
    with pytest.raises(DataError) as caught:
        read(jsonl(tmp_path, row, {**row, **changed}))
    assert (caught.value.line, caught.value.field, caught.value.found) == (2, field, found)


def test_a_first_row_that_lacks_a_field_does_not_make_the_format(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"prompt": "p"}, GOOD)
    with pytest.raises(DataError, match="line 1, field 'completion'"):
        read(path)
    assert [tree.id for tree in read(path, on_error="skip")] == ["rows:2"]


def test_bytes_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    line = json.dumps(GOOD).encode()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line + b"\n" + line[:-3] + b"\xff" + line[-3:] + b"\n" + line)
    with pytest.raises(
        DataError, match=f"line 2: found the byte 0xff at byte {len(line) - 2} of the line, expected text in UTF-8"
    ):
        read(path)
    assert [tree.id for tree in read(path, on_error="skip")] == ["rows:1", "rows:3"]
    table = tmp_path / "rows.csv"
    table.write_bytes(b"\xef\xbb\xbfprompt,completion\na,b\nc,\xe9\ne,f\n")
    with pytest.raises(DataError, match="line 3: found the byte 0xe9"):
        read(table)
    assert [tree.prompt for tree in read(table, on_error="skip")] == ["a", "e"]


def test_bad_csv_rows_are_named_by_the_line_they_begin_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion,label\n"two\nlines",x,true\na,b\nc,,1\nd,e,often\n\nf,g,0.5\nh,"open,1\n')
    forest = read(path, on_error="skip")
    assert [(tree.id, tree.leaves()[0].value("label")) for tree in forest] == [("rows:2", 1.0), ("rows:8", 0.5)]
    assert [str(error).removeprefix(f"{path}, ") for error in forest.skipped] == [
        "line 4: found 2 cells, expected 3 cells, as in the header",
        "line 5, field 'completion': found null, expected a string",
        "line 6, field 'label': found \"often\", expected a number, true or false",
        "line 9: found malformed CSV (unexpected end of data), expected comma-separated values",
    ]


def test_csv_cells_hold_lists_as_json_and_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["prompt", "completions", "labels"], ["[1] x", json.dumps(["a", "b" * 200_000]), "[true, 0]"]]
        )
    (tree,) = read(path)
    assert tree.prompt == "[1] x"
    assert [(len(node.text), node.value("label")) for node in tree.walk()][1:] == [(2, 1.0), (200_000, 0.0)]


def test_bad_parquet_rows_are_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    day = datetime.date(2024, 2, 29)
    pl.DataFrame({"prompt": ["a", "b", None], "completion": ["x", None, "z"], "day": [day] * 3}).write_parquet(path)
    with pytest.raises(DataError, match="line 2, field 'completion': found null"):
        read(path)
    forest = read(path, on_error="skip")
    assert [error.line for error in forest.skipped] == [2, 3]
    assert forest[0].leaves()[0].meta == {"day": "2024-02-29"}
    forest.write(tmp_path / "forest.parquet")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "t", "id": 1}, r"found columns id, text, expected one of the formats prompt, question, prompt/c"),
        ({"prompt": "p", "completion": "c", "chosen": "c", "rejected": "r"}, "fit prompt/completion and prompt/chosen"),
        ({"prompt": "p", "question": "q"}, "which fit prompt and question"),
    ],
)
def test_columns_that_fit_no_format_or_several_are_an_error(tmp_path: Path, row: dict[str, str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(jsonl(tmp_path, row), on_error="skip")
    if "prompt" in row:
        assert read(jsonl(tmp_path, row), format="prompt")[0].prompt == "p"


def test_files_with_nothing_to_read(tmp_path: Path) -> None:
    for name, text in (("a.jsonl", ""), ("b.jsonl", "\n\n"), ("c.csv", ""), ("d.csv", "prompt,completion\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="found no rows, expected at least one"):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"none of 250 rows can be read; the first: .*line 1: found malformed JSON"):
        read(jsonl(tmp_path, *["{"] * 250), on_error="skip")
    assert len(read(jsonl(tmp_path, *["{"] * 250, GOOD), on_error="skip")) == 1
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "rows.txt").write_text("x")
    with pytest.raises(DataError, match=r"the ending '.txt', expected one of .jsonl, .json, .csv, .parquet"):
        read(tmp_path / "rows.txt")
    with pytest.raises(ConfigError, match="unknown format 'pairs'"):
        read(tmp_path / "rows.txt", format="pairs")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["forest", "forest.parquet"])
def test_a_stored_forest_is_opened_not_parsed(tmp_path: Path, name: str) -> None:
    Forest([Tree(Node("p", "prompt"), "a")]).write(tmp_path / name)
    assert [tree.id for tree in read(tmp_path / name)] == ["a"]
    with pytest.raises(ConfigError, match="is a stored forest"):
        read(tmp_path / name, columns={"prompt": "question"})


def test_gsm8k_is_read_whole_and_its_questions_come_together(gsm8k: Path) -> None:
    columns = {"prompt": "question", "completion": "solution", "label": "is_correct", "answer": "ground_truth"}
    solutions = read(gsm8k / "model_solutions.jsonl", columns=columns)
    rows = [json.loads(line) for line in (gsm8k / "model_solutions.jsonl").open(encoding="utf-8")]
    assert len(solutions) == len(rows) == 3520
    assert [leaf.value("label") for leaf in solutions.leaves()] == [float(row["is_correct"]) for row in rows]
    merged = solutions.merge()
    assert len(merged) == len({row["question"] for row in rows})
    assert sum(len(tree.leaves()) for tree in merged) == 3520
    assert {len(tree.leaves()) for tree in merged} == {4}
    assert {leaf.meta["model"] for leaf in merged[0].leaves()} == {row["model"] for row in rows}
    for name, count in (("train", 7473), ("test_first_half", 660)):
        problems = read(gsm8k / f"{name}.jsonl")
        assert len(problems) == count
        assert all(tree.leaves()[0].text == tree.meta["answer"] for tree in problems)
