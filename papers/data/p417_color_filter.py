"""Texts that fine-tuning on the target made likelier are worth many random ones, to larger models too."""

import numpy as np

from espalier.curation import loss_reduction
from papers import Above, Less, Lines, Paper
from papers.data._sources import Bigrams, Trigrams, common, mixture, source

TAUS = (1, 2, 4, 8, 16)
PAPER = Paper(
    id="P417",
    title="CoLoR-Filter: Conditional Loss Reduction Filtering for Targeted Language Model Pre-training",
    claim="texts chosen by the loss that fine-tuning a small model on a little of the target takes away train a larger "
    "model to the same loss on the target as several times as many random texts; choosing harder helps more; the loss "
    "of the fine-tuned model alone is a worse guide",
    measured="a raw corpus of 10 related Markov sources, of which one is the target; prior and conditional are bigram "
    "models, from 1,000 raw texts and 40 of the target; a trigram model learns from 400 texts, each the best of tau "
    "candidates: nats a letter on the target; how many times as many random texts do as well (16 where not even 16 do)",
    rule=[
        Above("random texts that do as well as 400 chosen, in multiples", 3.0),
        *(Less(f"loss, tau {high}", f"loss, tau {low}") for low, high in ((1, 2), (2, 4), (4, 8))),
        Less("loss, tau 8", "loss, conditional only, tau 8"),
    ],
    seeds=16,
    figure=Lines(
        "candidates for each text chosen (tau)",
        "loss on the target, nats a letter",
        {
            "CoLoR-Filter": [(tau, f"loss, tau {tau}") for tau in TAUS],
            "conditional only": [(tau, f"loss, conditional only, tau {tau}") for tau in TAUS],
        },
        log=True,
    ),
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng, figures, chosen = np.random.default_rng(seed), {}, 50 if smoke else 400
    shared = common(rng)
    sources = [source(rng, shared, lean) for lean in np.linspace(0.4, 1.2, 10)]
    target = sources[4]  # neither the hardest nor the easiest to foretell
    raw, _ = mixture(rng, sources, np.ones(10), chosen * TAUS[-1], 40)
    aside, _ = mixture(rng, sources, np.ones(10), 1000, 40)
    (little, _), (test, _) = (mixture(rng, [target], [1.0], number, 40) for number in (40, 400))
    prior = Bigrams(aside)
    conditional = Bigrams(little, prior.counts / prior.counts.sum() * 2000)
    before, after = prior.loss(raw), conditional.loss(raw)
    for tau in TAUS:
        pool = slice(0, chosen * tau)
        for name, score in (("", loss_reduction(before, after)), ("conditional only, ", -after)):
            best = np.argsort(-score[pool])[:chosen]
            figures[f"loss, {name}tau {tau}"] = float(Trigrams(raw[best]).loss(test).mean())
    matched = figures["loss, tau 8"]
    random = [float(Trigrams(raw[: chosen * many]).loss(test).mean()) for many in range(1, TAUS[-1] + 1)]
    enough = [many for many, loss in enumerate(random, 1) if loss <= matched]
    figures["random texts that do as well as 400 chosen, in multiples"] = float(min(enough, default=TAUS[-1]))
    return figures
