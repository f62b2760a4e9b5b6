"""demo"""
from pathlib import Path


def demo(*, out: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Demo."""
