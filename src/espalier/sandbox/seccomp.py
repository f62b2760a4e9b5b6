"""Which requests to the kernel end a sandboxed program: a filter in the kernel's own code (classic BPF).

The namespaces already hide everything worth reaching. The filter makes an attempt visible (the program is killed and
its outcome is "violation"), keeps it to one process, and closes parts of the kernel that no program of ours needs.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator

_KILL = (
    *("fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsmount"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "add_key", "request_key"),
    *("open_by_handle_at", "init_module", "finit_module", "kexec_load", "reboot", "swapon", "swapoff"),
)
_REFUSE = ("shmget", "msgget", "semget", "mq_open", "memfd_create", "memfd_secret")
"""Memory that no limit of a process counts: these calls fail with EPERM."""

# Numbers of calls in the order of _KILL and _REFUSE, then clone, clone3 and socket; None where a machine has no such.
_X86_64 = (
    *(57, 58, 101, 310, 311, 312, 438),
    *(165, 166, 155, 161, 272, 308, 428, 429, 430, 432),
    *(321, 298, 323, 425, 250, 248, 249),
    *(304, 175, 313, 246, 169, 167, 168),
    *(29, 68, 64, 240, 319, 447),
    *(56, 435, 41),
)
_AARCH64 = (
    *(None, None, 117, 270, 271, 272, 438),
    *(40, 39, 41, 51, 97, 268, 428, 429, 430, 432),
    *(280, 241, 282, 425, 219, 217, 218),
    *(265, 105, 273, 104, 142, 224, 225),
    *(194, 186, 190, 180, 279, 447),
    *(220, 435, 198),
)
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}

_LOAD, _EQUAL, _ATLEAST, _ANYBIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _END, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _AF_UNIX = 1, 38, 1
_NUMBER, _MACHINE, _ARGUMENT = 0, 4, 16
"""Where the kernel's record of a call has these."""
_CLONE_THREAD, _X32 = 0x10000, 0x40000000


def seccomp_filter() -> bytes | None:
    """The filter for this machine; None where the numbers of its calls are not known here."""
    if platform.machine() not in _MACHINES:
        return None
    return b"".join(struct.pack("HBBI", *step) for step in _steps(*_MACHINES[platform.machine()]))


def _steps(machine: int, numbers: tuple[int | None, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Instructions: the operation, how many steps to skip where it holds and where not, its operand."""
    kill, refuse = numbers[: len(_KILL)], numbers[len(_KILL) : -3]
    clone, clone3, socket = numbers[-3:]
    assert clone is not None
    assert clone3 is not None
    assert socket is not None
    yield from ((_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _END))
    yield from ((_LOAD, 0, 0, _NUMBER), (_ATLEAST, 0, 1, _X32), (_RETURN, 0, 0, _END))
    for number in kill:
        if number is not None:
            yield from ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, _END))
    for number in refuse:
        if number is not None:
            yield from ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | _EPERM))
    # The C library starts threads with clone3 and, where the kernel lacks it, with clone, whose flags can be seen.
    yield from ((_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _FAIL | _ENOSYS))
    yield from ((_EQUAL, 0, 4, clone), (_LOAD, 0, 0, _ARGUMENT), (_ANYBIT, 1, 0, _CLONE_THREAD))
    yield from ((_RETURN, 0, 0, _END), (_RETURN, 0, 0, _ALLOW))
    # Looking up a user's name asks a local service first; without it the answer comes from a file.
    yield from ((_EQUAL, 0, 4, socket), (_LOAD, 0, 0, _ARGUMENT), (_EQUAL, 1, 0, _AF_UNIX))
    yield from ((_RETURN, 0, 0, _END), (_RETURN, 0, 0, _FAIL | _EPERM))
    yield (_RETURN, 0, 0, _ALLOW)
