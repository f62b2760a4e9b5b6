"""What a device asks for: bf16 matrix products where the processor has them, memory that is kept, threads that fit.

Sums inside a product, reductions, norms, softmax, log-probs and the weights themselves stay fp32 (mixed precision,
Micikevicius et al., arXiv:1710.03740; bf16: Kalamkar et al., arXiv:1905.12322). What is chosen depends on the
processor's features and the model's width alone, never on a timing, so one machine always chooses the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from espalier.models.model import Model

Precision = Literal["fp32", "bf16"]
Setting = Literal["auto", "fp32", "bf16"]

LEAST_WIDTH = 256
"""Below it the casts cost what the products gain: a width of 96 gained nothing, measured with AMX."""


def resolve_precision(setting: Setting, model: Model) -> Precision:
    """What `setting` means for this model where it is now; "fp32" and "bf16" mean themselves.

    "auto" is bf16 where the device has products of bf16 that sum in fp32, and the model is wide enough to gain.
    """
    if setting != "auto":
        return setting
    width = getattr(model.hf.config.get_text_config(), "hidden_size", None) or 0
    return "bf16" if width >= LEAST_WIDTH and has_bf16(model.device) else "fp32"


def has_bf16(device: torch.device | str) -> bool:
    """Whether the device multiplies bf16 matrices in hardware; elsewhere it is emulated, several times slower."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and _cpu_has_bf16(torch.cpu.get_capabilities())


def matrix_products(precision: Precision, device: torch.device | str) -> AbstractContextManager[object]:
    """Inside, matrix products take this precision; "fp32" leaves them to the type of the weights."""
    if precision == "bf16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return nullcontext()


@cache
def settle_process() -> None:
    """Settings of the process that cost speed as they come, made once, where the user has not made them.

    glibc gives memory that a training step frees back to the system and faults it in again at the next one; it is told
    to keep it (up to the peak that the step needs anyway). torch starts a thread for each core of the machine, also
    where a container may use only a few of them, and then waits for threads that do not run; it gets as many as may.
    `MALLOC_*`, `GLIBC_TUNABLES` and `OMP_NUM_THREADS` in the environment are respected.
    """
    if not any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        _keep_memory()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > (cores := available_cores()):
        torch.set_num_threads(cores)


def available_cores() -> int:
    """The cores that this process may use: its affinity, and its container's quota where Linux tells of one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup v2, or no quota ("max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def _keep_memory() -> bool:
    """Whether glibc was told to keep freed memory; False for another C library."""
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, ValueError):
        return False
    # Numbers from <malloc.h>: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD (32 MiB is the most that glibc takes).
    return all([mallopt(-1, 2**31 - 1), mallopt(-2, 2**26), mallopt(-3, 2**25)])


def _cpu_has_bf16(capabilities: Mapping[str, Any]) -> bool:
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
