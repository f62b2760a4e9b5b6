"""Replacing the worst beginnings by the best as they grow beats judging whole ones, token for token."""

from espalier import BestOfN, Budget, Limits, Sampling
from espalier.exact import ExactEngine, ExactScorer, Tabular
from espalier.search import Darwin
from papers import Less, Paper
from papers.search._languages import built_up, forecasts, gained, language, problems

PAPER = Paper(
    id="P276",
    title="Reward Steering with Evolutionary Heuristics for Decoding-time Alignment",
    claim="a population in which segments of low reward are replaced by those of high reward comes to a higher reward "
    "than best-of-n for the same tokens; replacing more exploits more",
    measured="strings of 8 symbols, a reward model that forecasts the end with noise: true reward of DARWIN's answer "
    "(16 particles, segments of 2, no mutations: an exact language has one way to ask) and of best-of-n with as many "
    "generated tokens",
    rule=[
        Less("reward, best-of-n", "reward, replaced 4"),
        Less("reward, replaced 1", "reward, replaced 4"),
    ],
    seeds=10,
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    of = language(4 if smoke else 8, prompts=4 if smoke else 16)
    policy, reward, figures = Tabular.random(of, seed, 0.5), built_up(of, seed + 100), {}
    scorer = ExactScorer(of, "value", reward, forecasts(policy, reward, 0.4, seed + 200))
    whole, segment = Sampling(max_tokens=of.length, seed=seed), Sampling(max_tokens=2, seed=seed)
    spent = 16 * of.length
    for replaced in (1, 4):
        found = Darwin(16, replaced, segment).search(problems(of), ExactEngine(policy), scorer)
        figures[f"reward, replaced {replaced}"] = gained(found, of, reward)
        figures[f"tokens, replaced {replaced}"] = found.ledger.generated / len(of.prompts)
    best = BestOfN(16, whole).search(problems(of), ExactEngine(policy), scorer, Budget(tree=Limits(generated=spent)))
    return {**figures, "reward, best-of-n": gained(best, of, reward)}
