"""The built-in recipes, by the name that configs and the command line use."""

from espalier.training.recipe import Recipe
from espalier.training.recipes.b_coder import BCoder
from espalier.training.recipes.dpo import DPO
from espalier.training.recipes.grpo import GRPO
from espalier.training.recipes.implicit import Implicit
from espalier.training.recipes.online_dpo import OnlineDPO
from espalier.training.recipes.oreo import OREO
from espalier.training.recipes.ppo import PPO
from espalier.training.recipes.process import Process
from espalier.training.recipes.reward import Reward
from espalier.training.recipes.sft import SFT
from espalier.training.recipes.value import Critic, Value

RECIPES: dict[str, type[Recipe]] = {
    recipe.key: recipe
    for recipe in (SFT, Reward, Value, Critic, Process, Implicit, DPO, OREO, BCoder, OnlineDPO, GRPO, PPO)
}

__all__ = [
    *("DPO", "GRPO", "OREO", "PPO", "RECIPES", "SFT"),
    *("BCoder", "Critic", "Implicit", "OnlineDPO", "Process", "Reward", "Value"),
]
