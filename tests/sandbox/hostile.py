"""Programs that mean harm, and what each must be reported as. `solve(3)` ought to be 6.

Most do their harm when they are called; those whose text begins at the margin with no function do it when loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Hostile:
    """A program, the outcomes that are right (several where versions of Python differ), and its seconds."""

    name: str
    code: str
    outcomes: tuple[str, ...]
    seconds: float = 20.0


def _all() -> list[Hostile]:
    found: list[Hostile] = []

    def add(name: str, expected: str, body: str, seconds: float = 20.0) -> None:
        """The body of `solve`, or the whole program where it defines `solve` itself."""
        body = dedent(body).strip()
        if "def solve" not in body:
            body = "def solve(x):\n" + "\n".join("    " + line for line in body.splitlines())
        found.append(Hostile(name, body + "\n", tuple(expected.split("|")), seconds))

    def late(name: str, body: str) -> None:
        add(name, "timed out", body, 0.6)

    # Other processes.
    add("fork bomb", "violation", "import os\nwhile True: os.fork()")
    add("shell", "violation", "import subprocess\nreturn subprocess.run(['/bin/sh', '-c', 'echo 6'])")
    add("daemon", "violation", "import os\nif os.fork() == 0:\n    os.setsid()\n    os.fork()\nreturn 6")
    add("kill the parent", "error|failed", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    add("kill everybody", "failed|error", "import os, signal\nos.kill(-1, signal.SIGKILL)")
    add("kill itself", "killed", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    add("ptrace", "violation", "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)")
    add(
        "read another's memory",
        "violation",
        "import ctypes\nctypes.CDLL(None).process_vm_readv(1, None, 0, None, 0, 0)",
    )
    add("become another program", "error", "import os, sys\nos.execv(sys.executable, ['python', '-c', 'print(6)'])")
    # The world outside.
    add("connect", "violation", "import socket\nsocket.create_connection(('1.1.1.1', 80), 1)")
    add("look up a name", "violation", "import socket\nreturn socket.gethostbyname('example.org')")
    add("send a datagram", "violation", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
    add("read the home folder", "error", "import os\nreturn os.listdir('/root') + os.listdir('/home')")
    add("read the passwords", "error", "return open('/etc/passwd').read()")
    add("read /proc", "error", "return open('/proc/1/environ').read()")
    add("write outside", "error", "open('/usr/lib/python3/evil.py', 'w').write('evil')")
    add("write over the harness", "error", "open('/python/inside.py', 'w').write('evil')")
    add("write at the top", "error", "open('/evil', 'w').write('evil')")
    add(
        "follow a link out",
        "error",
        "import os\nos.symlink('/root', '/tmp/link')\nos.symlink('/proc/self/root', '/tmp/top')\n"
        "return os.listdir('/tmp/link') + os.listdir('/tmp/top')",
    )
    add("become root", "error", "import os\nos.setgroups([0])\nos.setuid(0)")
    add("a namespace of its own", "violation", "import ctypes\nctypes.CDLL(None).unshare(0x10000000)")
    add("mount", "violation", "import ctypes\nctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None)")
    add("keys of the kernel", "violation", "import ctypes\nctypes.CDLL(None).syscall(250 if True else 219, 0, 0)")
    # More than its share.
    add("memory", "out of memory", "held = []\nwhile True: held.append(bytearray(10**7))")
    add("one large block", "error", "import mmap\nreturn len(mmap.mmap(-1, 2**40))")
    add(
        "shared memory",
        "error",
        "from multiprocessing.shared_memory import SharedMemory\nSharedMemory('x', True, 2**30)",
    )
    add("memory files", "error", "import os\nwhile True: os.write(os.memfd_create('x'), bytes(10**7))")
    add("fill the disk", "error", "n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'wb').write(bytes(10**6))")
    add("files", "error", "held = []\nwhile True: held.append(open('/dev/null'))")
    add(
        "threads",
        "error",
        "import threading, time\nthreading.stack_size(32768)\n"
        "while True: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
    )
    add("deep recursion", "error", "return solve(x)")
    add(
        "deeper recursion",
        "killed|out of memory|error",
        "import sys\nsys.setrecursionlimit(10**9)\n"
        "class A:\n    def __repr__(self): return repr(self)\nreturn repr(A())",
    )
    late("endless loop", "while True: pass")
    late("endless sleep", "import time\nwhile True: time.sleep(100)")
    late("a long multiplication", "return 7 ** 7 ** 10 % 10")
    late("a slow pattern", "import re\nreturn re.match('(a+)+$', 'a' * 40 + 'b')")
    late(
        "an endless loop that ignores signals",
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
    )
    late(
        "an endless loop that catches everything",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    )
    late("closing everything and waiting", "import os, time\nos.closerange(0, 64)\ntime.sleep(100)")
    late("never loaded", "while True: pass\ndef solve(x): return 6")
    add("print a gigabyte", "output too large", "for _ in range(10**6): print('x' * 1000)")
    add("complain a gigabyte", "output too large", "import os\nwhile True: os.write(2, b'x' * 1000)")
    add("answer a gigabyte", "output too large", "return 'x' * 10**7")
    add("a line without end", "output too large", "import os, sys\nwhile True: os.write(int(sys.argv[3]), b'x' * 1000)")
    late("lines without end", "import os, sys\nwhile True: os.write(int(sys.argv[3]), b'+\\n')")
    add("an answer that is none", "error", "import os, sys\nos.write(int(sys.argv[3]), b'=6\\n')")
    add("crash", "killed", "import ctypes\nctypes.string_at(0)")
    # Faking success.
    add("print the success message", "failed", "print('passed')\nprint('.[\"passed\", \"\"]')")
    add("exit as if all were well", "error", "import sys\nsys.exit(0)")
    add("exit at once", "error", "import os\nos._exit(0)")
    add("exit when loaded", "error", "import os\nos._exit(0)\ndef solve(x): return 6")
    add("exit politely when loaded", "error", "raise SystemExit(0)\ndef solve(x): return 6")
    add(
        "write the result to every file",
        "failed",
        "import os\nfor fd in range(64):\n    for line in (b'.[\"passed\", \"\"]\\n', b'+\\n', b'passed\\n'):\n"
        "        try: os.write(fd, line)\n        except OSError: pass",
    )
    add(
        "write the result and die",
        "error",
        'import os, sys\nos.write(int(sys.argv[3]), b\'.["passed", ""]\\n\')\nos._exit(0)',
    )
    add("equal to everything", "error", "class A:\n    def __eq__(self, other): return True\nreturn A()")
    add(
        "a number equal to everything", "failed", "class A(int):\n    def __eq__(self, other): return True\nreturn A(5)"
    )
    add(
        "claims to be a number",
        "error",
        "class A:\n    __class__ = int\n    def __eq__(self, o): return True\nreturn A()",
    )
    add(
        "other assertions",
        "failed",
        "import builtins, unittest\nbuiltins.AssertionError = Exception\nbuiltins.check = lambda c: None\n"
        "unittest.TestCase.assertEqual = lambda *a: None",
    )
    add("raise the failure", "error", "raise AssertionError('passed')")
    add(
        "other harness",
        "failed",
        "import sys\nmain = sys.modules['__main__']\nmain.tests = main.told = lambda *a: ['passed', '']\n"
        "main.encode = lambda value: 'passed'",
    )
    add(
        "harness by its frames",
        "failed",
        "import sys\nframe = sys._getframe()\nwhile frame.f_back: frame = frame.f_back\n"
        "for name in ('status', 'role'): frame.f_locals[name] = 'tests'\nframe.f_globals['tests'] = None",
    )
    add(
        "harness by its objects",
        "failed",
        "import gc\nfor f in gc.get_objects():\n    if type(f).__name__ == 'function' and f.__name__ == 'write':\n"
        '        try: f(\'.["passed", ""]\')\n        except Exception: pass',
    )
    add("trace", "failed", "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)")
    add("at exit", "failed", "import atexit, os\natexit.register(lambda: print('passed') or os._exit(0))")
    add("close the output", "error", "import os\nos.closerange(0, 64)\nreturn 6")
    add("a list within itself", "error", "held = []\nheld.append(held)\nreturn held")
    add("its own JSON", "failed", 'import json\njson.dumps = lambda *a: \'.["passed", ""]\'')
    add("nested without end", "error|failed", "import json\njson.dumps = lambda *a: '[' * 10**5")
    return found


HOSTILE = _all()
