"""An engine over a known policy: search strategies and samplers can be held against exact laws."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from espalier.engines.base import Sampling
from espalier.errors import ConfigError, ContextLengthError
from espalier.exact.places import place
from espalier.exact.policies import Policy
from espalier.trees import Ledger, Node


class ExactEngine:
    """An `Engine` that draws from a policy's next-token distributions, with their exact log-probs.

    A string that reaches the language's length ends there with `stop="length"`, as one does that the token limit cuts.
    What a prefix draws depends on the seed, the prefix and how often the call names it; the first k of n samples are
    the k samples that n = k gives. The policy is read at each call, so an engine stays valid while it is trained.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.spent = Ledger()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        """See `espalier.engines.base.Engine.extend`.

        Raises:
            ConfigError: n < 1, or top-p or top-k, which this engine does not cut by.
            ContextLengthError: a prefix of the language's full length.
            DataError: a prefix that is not of the language.
            ValueError: a prefix has ended already.
        """
        if n < 1:
            raise ConfigError(f"n must be at least 1, found {n}")
        if sampling.top_p < 1 or sampling.top_k > 0:
            cut = f"top_p={sampling.top_p}, top_k={sampling.top_k}"
            raise ConfigError(f"the exact engine cuts no tokens away; found {cut}")
        started, seen, found = time.perf_counter(), Counter[tuple[int, int]](), []
        with torch.no_grad():
            table = self.policy.next_logprobs()
            heated = (table / (sampling.temperature or 1.0)).log_softmax(-1).numpy()
        for prefix in prefixes:
            prompt, text = self._place(prefix)
            key = [sampling.seed, prompt, text, seen[prompt, text]]
            seen[prompt, text] += 1
            uniforms = np.random.default_rng(key).random((n, self.policy.language.length))
            found.append([self._draw(heated[prompt], text, uniform, sampling) for uniform in uniforms])
        self.spent += Ledger(
            generated=sum(len(node.token_ids or ()) for nodes in found for node in nodes),
            prefilled=sum(len(prefix.full_text()) for prefix in prefixes),
            calls=1,
            seconds=time.perf_counter() - started,
        )
        return found

    def next_tokens(self, prefixes: Sequence[Node], k: int) -> list[list[Node]]:
        """See `espalier.engines.base.TokenEngine.next_tokens`; raises as `extend` does."""
        started, symbols, found = time.perf_counter(), self.policy.language.symbols, []
        with torch.no_grad():
            table = self.policy.next_logprobs()
        for prefix in prefixes:
            prompt, text = self._place(prefix)
            best = table[prompt, text].topk(min(k, len(table[prompt, text])))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            found.append(
                [
                    Node(symbols[i], token_ids=[i], logprobs=[logprob], stop="length")
                    if i < len(symbols)
                    else Node("", token_ids=[i], logprobs=[logprob], stop="eos")
                    for i, logprob in pairs
                ]
            )
        self.spent += Ledger(
            generated=len(prefixes),
            prefilled=sum(len(prefix.full_text()) for prefix in prefixes),
            calls=1,
            seconds=time.perf_counter() - started,
        )
        return found

    def _place(self, prefix: Node) -> tuple[int, int]:
        """The numbers of the prompt and of the text after it, which must be one that can go on."""
        prompt, text, string = place(self.policy.language, prefix)
        if any(node.stop == "eos" for node in prefix.path()):
            raise ValueError(f"the response {prefix.response()!r} has ended; extend its parent for an alternative")
        if string is not None:
            raise ContextLengthError(f"the response {prefix.response()!r} already has the language's full length")
        return prompt, text

    def _draw(self, logprobs: np.ndarray, text: int, uniforms: np.ndarray, sampling: Sampling) -> Node:
        language, node = self.policy.language, Node("", token_ids=[], logprobs=[])
        assert node.token_ids is not None
        assert node.logprobs is not None
        for uniform in uniforms[: sampling.max_tokens]:
            here = logprobs[text]
            mass = np.exp(here).cumsum()
            chosen = int(here.argmax() if sampling.temperature == 0 else (mass <= uniform * mass[-1]).sum())
            node.token_ids.append(chosen)
            node.logprobs.append(float(here[chosen]))
            if chosen == len(language.symbols):
                node.stop = "eos"
                return node
            node.text += language.symbols[chosen]
            text = language.child(text, chosen)
            if text >= language.prefixes:
                break
            if any(node.text.endswith(stop) for stop in sampling.stop):
                node.stop = "stop"
                return node
        node.stop = "length"
        return node
