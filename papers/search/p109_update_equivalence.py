"""Two players who each plan by a mirror-descent step improve on what they agreed; each maximising, they may not."""

import numpy as np
import torch

from espalier import Forest, Node, Sampling, Tree
from espalier.exact import ExactEngine, ExactScorer, Language, Tabular
from espalier.search import MirrorDescentSearch
from papers import Above, Below, Less, Paper

PAPER = Paper(
    id="P109",
    title="The Update-Equivalence Framework for Decision-Time Planning",
    claim="search that makes one mirror-descent update at each state by rollouts plays the policy that the update of "
    "all states would give; in cooperative games with hidden cards it improves the blueprint though every player "
    "searches and believes that the others do not, where going for the highest value at each state can make it worse",
    measured="games of Tiny Hanabi's shape (a private card each, the second player sees the first one's action), with "
    "3 cards, 3 actions and random blueprints: the second player should name the first one's card (payoff 3, and a "
    "little that is random), or all payoffs are random. Exactly, 200 games a seed: how many get worse by one update of "
    "both players (rate 1, or maximising), and returns after 100. By search, one game of naming a seed: distance of "
    "the played law from the exact update, and return",
    rule=[
        *(Below(f"{game}, share made worse by mirror descent", 0.02) for game in ("naming", "random")),
        Above("naming, share made worse by maximising", 0.1),
        *(
            Less(f"{game}, return after 100 updates, maximising", f"{game}, return after 100 updates, mirror descent")
            for game in ("naming", "random")
        ),
        Below("distance of the search from the update", 0.1),
        Less("return of the blueprint, game searched", "return of the search"),
    ],
    seeds=12,
    tried="Built on other seeds: where all payoffs are random (2 cards or 4, 3 actions or 4) maximising makes at "
    "most 2 % of games worse and one such update gains more than one mirror-descent step of rate 1, so naming, which "
    "needs a convention, was added for that part of the rule; it stays beside the random games. After 5 steps of "
    "mirror descent as a blueprint neither update makes more than 1 % of games worse.",
)
ACTIONS, CARDS, RATE = "abc", "xyz", 1.0
Play = tuple[np.ndarray, np.ndarray]
"""Probabilities: of the first player's action [..., card, action], of the second's [..., card, seen, action]."""


def beliefs(first: np.ndarray) -> np.ndarray:
    """The chance of the first player's card where an action was seen, [..., card, action]."""
    return (first + 1e-12) / (first + 1e-12).sum(-2, keepdims=True)


def value(play: Play, payoff: np.ndarray) -> np.ndarray:
    """The expected payoff, [...]; `payoff` is [..., first card, second card, first action, second action]."""
    return np.einsum("...ca,...dab,...cdab->...", *play, payoff) / len(CARDS) ** 2


def updated(play: Play, payoff: np.ndarray, rate: float) -> Play:
    """Both players at once: a mirror-descent step on what each knows, or at infinite rate the best action."""
    first, second = play
    values = (
        np.einsum("...dab,...cdab->...ca", second, payoff) / len(CARDS),
        np.einsum("...ca,...cdab->...dab", beliefs(first), payoff),
    )
    if rate == np.inf:
        one, two = ((q == q.max(-1, keepdims=True)).astype(float) for q in values)
    else:
        one, two = (p * np.exp(rate * (q - q.max(-1, keepdims=True))) for p, q in zip(play, values, strict=True))
    return one / one.sum(-1, keepdims=True), two / two.sum(-1, keepdims=True)


def searched(play: Play, payoff: np.ndarray, trees: int, seed: int) -> Play:
    """How often search plays each action in each state. Rollouts draw what is hidden, then what the partner does."""
    symbols, (first, second) = ACTIONS + CARDS, play
    one = Language(symbols, length=3, end=False, prompts=tuple(CARDS))
    two = Language(symbols, length=2, end=False, prompts=tuple(card + seen for card in CARDS for seen in ACTIONS))
    laws = []
    for language in (one, two):
        table = torch.zeros(len(language.prompts), language.prefixes, len(symbols)).double()
        reward = torch.zeros(len(language.prompts), len(language.texts)).double()
        for number, prompt in enumerate(language.prompts):
            card, seen = CARDS.index(prompt[0]), ACTIONS.find(prompt[-1])
            table[number, 0] = _row(first[card] if language is one else second[card, seen], 0)
            for a in range(len(ACTIONS)):
                hidden = np.full(len(CARDS), 1 / len(CARDS)) if language is one else beliefs(first)[:, seen]
                table[number, after := language.child(0, a)] = _row(hidden, len(ACTIONS))
                for other in range(len(CARDS)):
                    dealt = language.child(after, len(ACTIONS) + other)
                    if language is two:
                        reward[number, dealt] = payoff[other, card, seen, a]
                        continue
                    table[number, dealt] = _row(second[other, a], 0)
                    for b in range(len(ACTIONS)):
                        reward[number, language.child(dealt, b)] = payoff[card, other, a, b]
        problems = Forest([Tree(Node(at, "prompt"), id=f"{at} {i}") for at in language.prompts for i in range(trees)])
        strategy = MirrorDescentSearch(
            8,
            8,
            RATE,
            Sampling(max_tokens=3, seed=seed),
            stop=tuple(ACTIONS),
            max_steps=1,
            rollout_steps=1,
            batch=len(problems),
        )
        scorer = ExactScorer(language, "value", reward[:, language.first :])
        found = strategy.search(problems, ExactEngine(Tabular(language, table)), scorer)
        played = np.array([ACTIONS.index(answer.text) for answer in found.answers if answer is not None])
        laws.append((played.reshape(-1, trees, 1) == np.arange(len(ACTIONS))).mean(1))
    return laws[0], laws[1].reshape(second.shape)


def _row(law: np.ndarray, start: int) -> torch.Tensor:
    """Logits of the symbols from `start`; no others are possible."""
    row = torch.full((len(ACTIONS + CARDS),), -torch.inf, dtype=torch.float64)
    row[start : start + len(law)] = torch.from_numpy(np.log(law))
    return row


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng, games, c, a = np.random.default_rng(seed), 20 if smoke else 200, len(CARDS), len(ACTIONS)
    noise = rng.normal(size=(2, games, c, c, a, a))
    named = 3 * np.eye(c, a)[:, None, None, :]
    one, two = np.exp(rng.normal(size=(games, c, a))), np.exp(rng.normal(size=(games, c, a, a)))
    blueprint, figures = (one / one.sum(-1, keepdims=True), two / two.sum(-1, keepdims=True)), dict[str, float]()
    payoffs = {"naming": named + 0.3 * noise[0], "random": noise[1]}
    for game, payoff in payoffs.items():
        before = value(blueprint, payoff)
        figures[f"{game}, return of the blueprint"] = float(before.mean())
        for name, rate in (("mirror descent", RATE), ("maximising", np.inf)):
            play = updated(blueprint, payoff, rate)
            after = value(play, payoff)
            figures[f"{game}, share made worse by {name}"] = float((after < before).mean())
            figures[f"{game}, return after 1 update, {name}"] = float(after.mean())
            for _ in range(99):
                play = updated(play, payoff, rate)
            figures[f"{game}, return after 100 updates, {name}"] = float(value(play, payoff).mean())
    here, payoff = (blueprint[0][0], blueprint[1][0]), payoffs["naming"][0]
    found, exact = searched(here, payoff, 10 if smoke else 60, seed), updated(here, payoff, RATE)
    apart = [np.abs(p - q).sum(-1).ravel() / 2 for p, q in zip(found, exact, strict=True)]
    return {
        **figures,
        "distance of the search from the update": float(np.concatenate(apart).mean()),
        "return of the blueprint, game searched": float(value(here, payoff)),
        "return of the search": float(value(found, payoff)),
        "return of the exact update, game searched": float(value(exact, payoff)),
    }
