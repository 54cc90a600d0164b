"""The command line as processes that can be killed, without the seconds that each import of torch would cost.

Run as a script, this imports everything once and forks a child for each call it reads from standard input; the child
is the real command line, in a process of its own. `Warm` is the other end, for tests.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVERYTHING = (
    *("convlens.cli.main", "convlens.cli.progress", "convlens.cli.show", "convlens.experiment"),
    *("jinja2", "matplotlib.figure", "matplotlib.backends.backend_svg", "sklearn.metrics"),
    "torch._dynamo",  # which every optimiser of torch imports when it is made
)
PATIENCE_S = 240.0
LOOK_EVERY_S = 0.002


class Call:
    """One running command.

    Attributes:
        code: how it ended, as a shell counts; minus the signal that killed it. None while it runs.
        out, err: what it printed, once it has ended.
    """

    def __init__(self, server: subprocess.Popen[str], folder: Path, words: list[str]) -> None:
        self.server, self.folder, self.code = server, folder, None
        self.out = self.err = ""
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({"folder": str(folder), "words": words}) + "\n")
        server.stdin.flush()
        self.pid = int(server.stdout.readline())

    def send(self, number: int) -> None:
        """Send it a signal; one that has ended already does not mind."""
        os.kill(self.pid, number)  # the server keeps the process number until `wait` has asked for it

    def until(self, what: Callable[[], Any]) -> bool:
        """Wait until something is so; False when the command ends first."""
        limit = time.monotonic() + PATIENCE_S
        while not what():
            if self.ended():
                return False
            assert time.monotonic() < limit, f"waited {PATIENCE_S:.0f} s in vain"
            time.sleep(LOOK_EVERY_S)
        return True

    def ended(self) -> bool:
        """Whether it has ended, though nobody has asked how yet."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait(self) -> int:
        """Wait for its end; returns `code`."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        self.code = int(self.server.stdout.readline())
        self.out, self.err = ((self.folder / name).read_text(encoding="utf-8") for name in (".out", ".err"))
        return self.code


class Warm:
    """A warm process that starts commands, one after another."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "error"}
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, folder: Path, *words: str | Path) -> Call:
        """Start a command in a folder."""
        return Call(self.server, folder, [str(word) for word in words])

    def run(self, folder: Path, *words: str | Path) -> Call:
        """Run a command to its end."""
        call = self.start(folder, *words)
        call.wait()
        return call

    def close(self) -> None:
        """End it."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()


def serve() -> None:
    """Fork a child for every line; say its number, and when asked how it ended."""
    for name in EVERYTHING:
        importlib.import_module(name)
    main = sys.modules["convlens.cli.main"].main
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(call["folder"], call["words"], main)
        print(child, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(folder: str, words: list[str], main: Callable[[], None]) -> None:
    """Turn a fresh child into the command."""
    code = 1
    try:
        os.chdir(folder)
        for number, name in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["convlens", *words]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
    os._exit(0)
