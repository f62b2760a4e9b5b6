"""A search whose node values go over from a model's estimates to real outcomes uses both where each is good."""

from espalier import MCTS, Sampling
from espalier.exact import ExactEngine, ExactScorer, Tabular
from espalier.search import fading
from papers import Less, Lines, Paper
from papers.search._languages import built_up, forecasts, gained, language, problems

SIZES = (8, 24)
PAPER = Paper(
    id="P438",
    title="I-MCTS: Enhancing Agentic AutoML via Introspective Monte Carlo Tree Search",
    claim="MCTS that blends a value model's estimates with real outcomes, the estimates' weight falling as outcomes "
    "arrive, finds better solutions for the same evaluations than with outcomes alone",
    measured="a search over strings of 7 symbols whose value model errs by as much as rewards differ: reward of the "
    "best solution found with 8 and 24 expansions, by blended values, by outcomes alone, and by a fixed half of each; "
    "the paper's expansion that reads sibling solutions needs a language model and is left out",
    rule=[
        Less("reward, outcomes, 8", "reward, blend, 8"),
        Less("reward, outcomes, 24", "reward, blend, 24"),
    ],
    figure=Lines(
        "expansions",
        "reward of the answer",
        {name: [(n, f"reward, {name}, {n}") for n in SIZES] for name in ("blend", "outcomes", "half")},
    ),
    seeds=12,
    tried="12 seeds: 0.04 [-0.03, 0.12] more reward with 8 expansions, -0.01 [-0.06, 0.05] with 24, where the 128 "
    "solutions are nearly all seen. On four other seeds with 1,024 solutions (10 symbols, 8 problems) the blend found "
    "1.58 and outcomes alone 1.71 with 8 expansions, 1.97 and 1.97 with 24: a forecast that errs by as much as rewards "
    "differ is no better than one more outcome, and rollouts are as cheap here as estimates, which they are not in the "
    "paper.",
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    of = language(4 if smoke else 7, prompts=4 if smoke else 12)
    policy, reward, figures = Tabular.random(of, seed, 0.5), built_up(of, seed + 100), {}
    scorer = ExactScorer(of, "value", reward, forecasts(policy, reward, 1.0, seed + 200))
    step, steps = Sampling(max_tokens=1, seed=seed), {"stop": "", "max_steps": of.length}
    for n in SIZES:
        searches = {
            "blend": MCTS(n, 2, step, rollout_share=0.5, blend=fading, **steps),
            "outcomes": MCTS(n, 2, step, rollout_share=1.0, **steps),
            "half": MCTS(n, 2, step, rollout_share=0.5, **steps),
        }
        for name, search in searches.items():
            found = search.search(problems(of), ExactEngine(policy), scorer)
            figures[f"reward, {name}, {n}"] = gained(found, of, reward)
    return figures
