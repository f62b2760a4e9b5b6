"""Precision follows the processor and the model's width, and nothing else."""

import os
import platform
import resource

import pytest
import torch

from espalier.models import pack
from espalier.models.numerics import (
    _cpu_has_bf16,
    _keep_memory,
    available_cores,
    has_bf16,
    matrix_products,
    resolve_precision,
    settle_process,
)


def test_a_setting_that_names_a_precision_means_it(build):
    model = build("llama")
    assert [resolve_precision(setting, model) for setting in ("fp32", "bf16")] == ["fp32", "bf16"]


@pytest.mark.parametrize(("family", "key"), [("llama", "hidden_size"), ("gpt2", "n_embd")])
def test_auto_takes_bf16_for_wide_models_where_the_processor_has_it(build, family, key):
    wide, narrow = (build(family, **{key: width}) for width in (256, 192))
    assert resolve_precision("auto", wide) == ("bf16" if has_bf16("cpu") else "fp32")
    assert resolve_precision("auto", narrow) == "fp32"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "amx_tile": True, "amx_bf16": False, "avx512_bf16": False}, False),
        ({"avx512_f": True, "amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx512_bf16": True}, True),
        ({"neon": True}, False),
    ],
)
def test_a_processor_has_bf16_where_it_multiplies_it(capabilities, expected):
    assert _cpu_has_bf16(capabilities) is expected
    assert has_bf16("meta") is False


def test_bf16_products_leave_log_probs_in_fp32_and_close(build, trees):
    model, packed = build("llama"), pack(trees)
    with torch.no_grad():
        exact = model(packed).logprobs
        with matrix_products("fp32", "cpu"):
            same = model(packed).logprobs
        with matrix_products("bf16", "cpu"):
            rounded = model(packed).logprobs
    assert torch.equal(same, exact)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1


def test_memory_that_is_freed_is_kept_where_the_c_library_is_glibc():
    assert _keep_memory() is (platform.libc_ver()[0] == "glibc")
    settle_process()

    def step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(2**21) for _ in range(12)]  # 8 MiB each, all freed at once
        del kept
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    step()
    if _keep_memory():
        assert min(step() for _ in range(3)) < 12 * 2**23 / 4096 / 10


def test_no_more_threads_than_cores_that_may_be_used():
    settle_process()
    assert 1 <= available_cores() <= os.cpu_count()
    assert "OMP_NUM_THREADS" in os.environ or torch.get_num_threads() <= available_cores()
