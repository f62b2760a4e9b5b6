"""What every test may use. Real data lies beside the checkout; where it is absent, its tests skip and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two pytest-xdist workers on two cores: a thread each is faster than two that fight.
if os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(os.environ.get("ESPALIER_SHARED", Path(__file__).parents[2] / "shared"))


def real_data(name: str) -> Path:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"real data {name} is not beside this checkout (set ESPALIER_SHARED to its folder)")
    return path


@pytest.fixture(scope="session")
def gsm8k() -> Path:
    return real_data("gsm8k")


@pytest.fixture(scope="session")
def alpaca_eval() -> Path:
    return real_data("alpaca_eval")


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Code that a model wrote can be run here."""
    from espalier.sandbox import SandboxError, ready

    try:
        ready()
    except SandboxError as error:
        pytest.skip(str(error))
