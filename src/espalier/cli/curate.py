"""`espalier curate`: a forest in, a smaller forest out, with the number each tree was kept for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from espalier.errors import ConfigError

if TYPE_CHECKING:
    from espalier.trees import Forest

Method = Literal[
    "keep-above",
    "best-worst",
    "informative",
    "small-margin",
    "large-margin",
    "both-margins",
    "uncertain",
    "d-optimal",
    "clear",
    "color",
    "dsir",
]


def curate(
    forest: str,
    *,
    method: Method,
    out: Path,
    by: str | None = None,
    keep: float = 0.5,
    threshold: float = 0.0,
    model: str | None = None,
    reference: str | None = None,
    target: str | None = None,
    seed: int = 0,
) -> None:
    """Select what to label or to learn from, and write it as a forest; docs/selection.md says which method is for what.

    For example:

        espalier curate runs/judged --method best-worst --by numeric --out runs/pairs

        espalier curate runs/samples --method small-margin --model runs/dpo/model --reference runs/sft/model --keep 200
        --out runs/to-label

        espalier curate corpus.jsonl --method dsir --target wanted.jsonl --keep 0.1 --out runs/corpus

    Args:
        forest: a forest, or rows.
        method: how to select.
        out: folder for the selection.
        by: the score of the responses to go by.
        keep: a share of the trees, or a number of them.
        threshold: of keep-above; for best-worst the least difference.
        model: for margins and d-optimal the policy, for color the conditional model.
        reference: for margins and clear the reference policy, for color the prior.
        target: rows like what is wanted, for dsir.
        seed: of dsir's sample.
    """
    from espalier import curation
    from espalier.trees import read

    def needed(value: str | None, flag: str) -> str:
        if value is None:
            raise ConfigError(f"--method {method} needs {flag}")
        return value

    trees = read(forest).load()
    if model or reference:
        trees = _written(trees, method, model, reference)
    margins = {"small-margin": "small", "large-margin": "large", "both-margins": "both"}
    ways: dict[str, Callable[[], Forest]] = {
        "keep-above": lambda: curation.keep_above(trees, needed(by, "--by"), threshold),
        "best-worst": lambda: curation.best_and_worst(trees, needed(by, "--by"), threshold),
        "informative": lambda: curation.informative(trees, needed(by, "--by")),
        **{
            name: lambda end=end: curation.acquire(trees, by or "implicit", keep, end)  # type: ignore[misc]
            for name, end in margins.items()
        },
        "uncertain": lambda: curation.uncertain(trees, keep),
        "d-optimal": lambda: _d_optimal(trees, needed(model, "--model"), by, keep),
        "clear": lambda: curation.clear(trees, needed(reference and "reference", "--reference"), keep),
        "color": lambda: curation.color_filter(
            trees, needed(reference and "reference", "--reference"), needed(model and "model", "--model"), keep
        ),
        "dsir": lambda: curation.dsir(trees, read(needed(target, "--target")), keep, seed),
    }
    kept = ways[method]()
    if not len(kept):
        raise ConfigError(
            f"{forest}: --method {method} keeps none of {len(trees)} trees; do they have the score it goes by?"
        )
    kept.write(out)
    print(f"{len(kept)} of {len(trees)} trees: {out}")


def _written(trees: Forest, method: str, model: str | None, reference: str | None) -> Forest:
    """The numbers that the method goes by, written on the trees: implicit rewards, or log-probs of the two models."""
    from espalier.models import load
    from espalier.scorers import ImplicitReward, ReferenceLogProbs

    if method.endswith(("-margin", "-margins")):
        if not (model and reference):
            raise ConfigError(
                f"--method {method}: margins of a policy need --model and --reference, or neither and --by"
            )
        return ImplicitReward(load(model), load(reference), beta=1.0).score(trees)
    if method in ("clear", "color"):
        for name, path in (("reference", reference), ("model", model)):
            if path:
                trees = ReferenceLogProbs(load(path), name=name).score(trees)
    return trees


def _d_optimal(trees: Forest, model: str, by: str | None, keep: float) -> Forest:
    from espalier import curation
    from espalier.curation.take import how_many
    from espalier.models import load

    return curation.most_informative(trees, curation.last_hidden(load(model), trees), how_many(keep, len(trees)), by)
