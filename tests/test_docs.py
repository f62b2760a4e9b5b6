"""What the docs show is true: Python blocks run, commands parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from espalier import search
from espalier.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = {"gsm8k.md": "gsm8k", "sandbox.md": "sandbox"}
"""Pages whose Python needs real data or a sandbox: the fixture that finds it, or skips with the reason."""


def blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks in one of these languages, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        if found[1] in languages:
            yield text.count("\n", 0, found.start(2)) + 1, found[2]


def commands(text: str) -> list[str]:
    """The `espalier` commands of a shell block; a line may go on after a backslash."""
    lines = (line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line.startswith("espalier ")]


def examples() -> list[str]:
    """The commands that `--help` shows."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/espalier/cli").glob("*.py"))
    found = re.findall(r"^ {8}(espalier .*(?:\n {8}--.*)*)$", text, flags=re.MULTILINE)
    assert len(found) >= 8
    return [" ".join(example.split()) for example in found]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if list(blocks(page, "python"))], ids=name)
def test_python_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if page.name in NEEDS:
        data = request.getfixturevalue(NEEDS[page.name])
        if data is not None:
            (tmp_path / data.name).symlink_to(data)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for line, code in blocks(page, "python"):
        # Empty lines above the code make the line numbers of a traceback those of the page.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path) -> None:
    for _, text in blocks(page, "console", "bash", "sh"):
        for command in commands(text):
            parse(command)


@pytest.mark.parametrize("command", examples())
def test_commands_of_the_help_parse(command: str) -> None:
    parse(command)


def parse(command: str) -> None:
    """Raises CycloptsError where a subcommand or flag does not exist, or a value has the wrong type."""
    words = shlex.split(command, comments=True)[1:]
    for end, word in enumerate(words):
        if word in ("|", ">", ">>", "&&", ";"):
            words = words[:end]
            break
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        assert other.exists(), f"{name(page)} links to {target}, which is not there"
        if heading:
            headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
            assert heading in slugs, f"{name(page)} links to {target}; {other.name} has {sorted(slugs)}"


def test_every_strategy_has_a_line_in_the_docs() -> None:
    named = {name: getattr(search, name) for name in search.__all__ if name != "Strategy"}
    strategies = {name for name, found in named.items() if isinstance(found, type) and hasattr(found, "search")}
    assert len(strategies) > 20
    rows = [line for line in (ROOT / "docs/search.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert strategies <= told, f"docs/search.md does not tell of {sorted(strategies - told)}"
