"""The project as a whole: one version, no trace of the machine that it was written on, every module introduced."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import espalier

ROOT = Path(__file__).parents[1]
TEXTS = {".py", ".md", ".toml", ".html", ".css", ".js", ".yml", ".yaml", ".json"}
MACHINE = re.compile(
    r"(?<![\w.$}])/(?:work|home|root|Users)/"  # a folder of one person or machine
    r"|index-url|(?:pypi|registry|artifactory|nexus)[\w-]*\.[\w.-]+",  # where packages happened to come from
    re.IGNORECASE,
)


def files() -> Iterator[Path]:
    for folder in ("src", "tests", "docs", "papers"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in TEXTS)
    yield from (ROOT / name for name in ("README.md", "pyproject.toml", "Makefile", ".ci/run", ".gitignore"))


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == espalier.__version__


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        if path.exists() and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def test_every_module_says_its_idea() -> None:
    modules = sorted((ROOT / "src").rglob("*.py"))
    silent = [
        path.relative_to(ROOT).as_posix() for path in modules if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, f"modules without a docstring: {', '.join(silent)}"


def test_every_public_name_is_there_and_introduced() -> None:
    for name in espalier.__all__:
        assert getattr(espalier, name).__doc__, f"espalier.{name} has no docstring"
