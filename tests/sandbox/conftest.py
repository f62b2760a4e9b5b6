"""Tests of the sandbox skip where there can be none, and say why."""

from __future__ import annotations

import pytest

from espalier.sandbox import SandboxError, ready


@pytest.fixture(scope="session")
def sandbox() -> None:
    try:
        ready()
    except SandboxError as error:
        pytest.skip(str(error))
