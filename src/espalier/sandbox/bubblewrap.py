"""The walls: the bubblewrap command that a program runs under, and the trial that tells whether it works here.

Inside there are the system's libraries and Python's own, read-only, an empty /tmp, a minimal /dev, and nothing else:
no home, no /proc, no network, no environment. A user namespace gives an ordinary user these walls. Root has no need of
one, and is not limited in processes, so its programs give up root and run as a user of their own.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path

from espalier.sandbox.base import Limits, SandboxError

INSIDE = Path(__file__).with_name("inside.py")
_INSTALL = (
    "install bubblewrap 0.8 or newer (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"
)
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib64")


def command(limits: Limits, status: int, seccomp: int | None) -> list[str]:
    """The command, to which the arguments of `inside.py` are added.

    Args:
        status: the file descriptor to which bubblewrap writes the number of its first process.
        seccomp: the file descriptor from which bubblewrap reads the filter.

    Raises:
        SandboxError: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError(f"code that a model wrote runs only in a sandbox, and bwrap is not here: {_INSTALL}")
    words = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    words += [
        "--json-status-fd",
        str(status),
        "--die-with-parent",
        "--new-session",
        "--hostname",
        "sandbox",
        "--cap-drop",
        "ALL",
    ]
    if os.geteuid() == 0:
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    words += ["--clearenv", "--setenv", "HOME", "/tmp", "--setenv", "LD_LIBRARY_PATH", "/python/lib"]
    words += ["--setenv", "OMP_NUM_THREADS", "1"]
    for folder in ("/usr", "/python"):
        words += ["--perms", "0755", "--dir", folder]
    for path in _SYSTEM:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            words += ["--ro-bind", path, path]
    for folder in ("bin", "lib"):
        words += ["--ro-bind", os.path.join(sys.base_prefix, folder), f"/python/{folder}"]
    words += ["--ro-bind", str(INSIDE), "/python/inside.py", "--dev", "/dev", "--remount-ro", "/dev"]
    words += ["--size", str(limits.disk), "--perms", "1777", "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]
    words += ["--seccomp", str(seccomp)] if seccomp is not None else []
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [*words, "--", f"/python/bin/{version}", "-I", "-S", "-B", "/python/inside.py"]


@functools.cache
def ready() -> None:
    """Run an empty program once, and remember that it worked.

    Raises:
        SandboxError: bubblewrap is missing or cannot work here, with its own words and what to do.
    """
    from espalier.sandbox.run import run_here

    if not sys.platform.startswith("linux"):
        raise SandboxError(f"code that a model wrote runs only in a sandbox, which needs Linux; this is {sys.platform}")
    run = run_here("print('here')", Limits(seconds=60))
    if run.outcome != "finished" or run.stdout != "here\n":
        raise SandboxError(
            f"code that a model wrote runs only in a sandbox, and bwrap cannot make one here: {run.outcome}, "
            f"{run.detail}: {run.stderr.strip()[-500:]}. It needs version 0.8 or newer ({_INSTALL}), and to be root or "
            "to be allowed user namespaces: see /proc/sys/user/max_user_namespaces and, on Ubuntu, the setting "
            "kernel.apparmor_restrict_unprivileged_userns; in a container, its seccomp profile or --privileged"
        )


def sandboxed() -> bool:
    """Whether code can be run here; `ready` says why not."""
    try:
        ready()
    except SandboxError:
        return False
    return True
