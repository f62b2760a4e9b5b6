"""The one loop, its recipes and their settings."""

from espalier.training.config import Training
from espalier.training.metrics import METRICS, Metric, read_metrics
from espalier.training.recipe import Online, Recipe
from espalier.training.recipes import DPO, GRPO, PPO, RECIPES, SFT, OnlineDPO, Reward, Value
from espalier.training.run import Run, train

__all__ = [
    "DPO",
    "GRPO",
    "METRICS",
    "PPO",
    "RECIPES",
    "SFT",
    "Metric",
    "Online",
    "OnlineDPO",
    "Recipe",
    "Reward",
    "Run",
    "Training",
    "Value",
    "read_metrics",
    "train",
]
