"""The one loop, its recipes and their settings."""

from espalier.training.config import Training
from espalier.training.metrics import METRICS, Metric, read_metrics
from espalier.training.recipe import Online, Recipe
from espalier.training.recipes import (
    DPO,
    GRPO,
    OREO,
    PPO,
    RECIPES,
    SFT,
    BCoder,
    Critic,
    Implicit,
    OnlineDPO,
    Process,
    Reward,
    Value,
)
from espalier.training.run import Run, train

__all__ = [
    "DPO",
    "GRPO",
    "METRICS",
    "OREO",
    "PPO",
    "RECIPES",
    "SFT",
    "BCoder",
    "Critic",
    "Implicit",
    "Metric",
    "Online",
    "OnlineDPO",
    "Process",
    "Recipe",
    "Reward",
    "Run",
    "Training",
    "Value",
    "read_metrics",
    "train",
]
