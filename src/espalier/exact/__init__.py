"""Problems with closed-form answers: a language whose strings are all written down, policies over it, exact optima.

language = Language("ab", length=3)
reference = Tabular.random(language, seed=0)().detach()
reward = random_reward(language, seed=1)
optimum = tilted(reference, reward, beta=0.5)

policy, pairs = Tabular(language), Pairs.all(reference, bradley_terry(reward))
descend(policy, lambda: pairs.mean(dpo(*pairs.split(policy() - reference), beta=0.5)))
total_variation(policy(), optimum)          # 1e-9: what DPO promises, it does
"""

from espalier.exact.best_of_n import best_of_n, continuous_win_rate, kl_bound
from espalier.exact.descend import anneal, descend
from espalier.exact.divergences import Divergence, f_optimum
from espalier.exact.engine import ExactEngine
from espalier.exact.fits import logistic_fit, square_fit
from espalier.exact.games import exploitability, nash, regularised_gap, regularised_nash
from espalier.exact.information import differential_information, rejected_law
from espalier.exact.language import Language, bandit
from espalier.exact.laws import entropy, expectation, kl, total_variation, win_rate
from espalier.exact.pairs import Pairs
from espalier.exact.places import Place, place
from espalier.exact.policies import Neural, Policy, Tabular
from espalier.exact.rewards import bradley_terry, cyclic, random_preference, random_reward
from espalier.exact.scorer import ExactScorer
from espalier.exact.tilted import SoftValues, log_partition, objective, soft_values, tilted
from espalier.exact.tokenizer import tokenizer
from espalier.exact.trees import forest, response, responses

__all__ = [
    "Divergence",
    "ExactEngine",
    "ExactScorer",
    "Language",
    "Neural",
    "Pairs",
    "Place",
    "Policy",
    "SoftValues",
    "Tabular",
    "anneal",
    "bandit",
    "best_of_n",
    "bradley_terry",
    "continuous_win_rate",
    "cyclic",
    "descend",
    "differential_information",
    "entropy",
    "expectation",
    "exploitability",
    "f_optimum",
    "forest",
    "kl",
    "kl_bound",
    "log_partition",
    "logistic_fit",
    "nash",
    "objective",
    "place",
    "random_preference",
    "random_reward",
    "regularised_gap",
    "regularised_nash",
    "rejected_law",
    "response",
    "responses",
    "soft_values",
    "square_fit",
    "tilted",
    "tokenizer",
    "total_variation",
    "win_rate",
]
