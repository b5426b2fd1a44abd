"""Jobs that die at a chosen moment: `python -m tests.corpus.faults` starts each in a process of its own.

That process has everything imported and forks for each job, so that a job costs milliseconds. In the job, what the
package calls to put bytes on the disk is replaced: each call is a moment, and the job can be told at which one to die,
by SIGKILL, so that nothing of Python runs any more. Before a file is synced, half of it is taken away first: that is
what a loss of power leaves.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from polypool.corpus import CorpusError, Encoded, StoppedError, embed
from polypool.corpus.adapter import Tick
from polypool.corpus.stores import LocalStore
from tests.corpus.stub import KIND, Stub

SLOW = "tests.corpus.faults:Slow"
ONCE = "tests.corpus.faults:DiesOnce"
#: Exit codes of a job.
DONE, REFUSED, STOPPED, HUNG = 0, 2, 3, 99
#: A job that takes longer, in seconds, hangs, and is killed.
_PATIENCE = 40


class Slow(Stub):
    """Takes a while for each batch, so that it can be met at work."""

    def encode(self, rows: Sequence[str], tick: Tick) -> Encoded:
        time.sleep(0.05)
        return super().encode(rows, tick)


class DiesOnce(Stub):
    """DEADLY kills whoever encodes it; FATAL only the first, and names the file that remembers it."""

    def encode(self, rows: Sequence[str], tick: Tick) -> Encoded:
        for text in rows:
            if text.startswith("DEADLY"):
                os.kill(os.getpid(), signal.SIGKILL)
            if text.startswith("FATAL "):
                remembered = Path(text.split()[1])
                if not remembered.exists():
                    remembered.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(rows, tick)


class Moments:
    """The calls that put something on the disk, in their order.

    Args:
        log: Where their names are written.
        last: The one that is not survived; None survives all.
    """

    def __init__(self, log: int, last: int | None) -> None:
        self._log, self._last, self._count = log, last, 0
        self._replace, self._fsync, self._remove = os.replace, os.fsync, os.unlink
        self._encode = Stub.encode

    def install(self) -> None:
        """In this process, for good."""
        os.replace = self.replace  # type: ignore[assignment]
        os.fsync = self.fsync  # type: ignore[assignment]
        Stub.encode = lambda stub, rows, tick: self.encode(stub, rows, tick)  # type: ignore[assignment,method-assign]

    def replace(self, source: Any, target: Any) -> None:
        self.moment(f"before the rename to {Path(target).name}")
        self._replace(source, target)
        self.moment(f"after the rename to {Path(target).name}")

    def fsync(self, handle: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if name.is_file():
            self.moment(f"while writing {name.name.split('.')[0]}", tear=handle)
        self._fsync(handle)

    def encode(self, stub: Stub, rows: Sequence[str], tick: Tick) -> Encoded:
        self.moment("while encoding")
        return self._encode(stub, rows, tick)

    def moment(self, name: str, tear: int | None = None) -> None:
        os.write(self._log, f"{name}\n".encode())
        if self._count == self._last:
            if tear is not None:
                os.ftruncate(tear, os.fstat(tear).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        code: Its exit code, or minus the signal that killed it.
        said: The message of its error.
        moments: What it lived through.
    """

    code: int
    said: str
    moments: tuple[str, ...]


class Jobs:
    """Starts jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        root = str(Path(__file__).parents[2])
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.corpus.faults"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
            cwd=root,
            start_new_session=True,
        )

    def run(self, inputs: Path | str, out: Path, **order: Any) -> Ended:
        """A job from its start to its end.

        Args:
            inputs: What to embed.
            out: Where to.
            order: `kill`, the moment to die at; `file_size`, the most bytes of a file; `careless`, for a job
                that does it wrong; others are settings of the job.
        """
        return self.wait(self.start(inputs, out, **order))

    def start(self, inputs: Path | str, out: Path, **order: Any) -> int:
        """A job, to be waited for. Returns its number."""
        self._count += 1
        place = self._folder / f"job-{self._count}"
        self._ask(
            {
                "do": "start",
                "number": self._count,
                "place": str(place),
                "in": str(inputs),
                "out": str(out),
                **order,
            }
        )
        return self._count

    def wait(self, number: int) -> Ended:
        """How it ended."""
        code = int(self._ask({"do": "wait", "number": number})["code"])
        place = self._folder / f"job-{number}"
        said = place.with_suffix(".said")
        moments = place.with_suffix(".moments").read_text().splitlines()
        return Ended(code, said.read_text() if said.exists() else "", tuple(moments))

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        server = self._server
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the server has no pipes")
        try:
            server.stdin.write(json.dumps(order).encode() + b"\n")
            server.stdin.flush()
            # One line for each order: nothing of it waits in the reader.
            if not select.select([server.stdout], [], [], _PATIENCE + 10)[0]:
                raise TimeoutError(f"the server of jobs does not answer to {order}")
            found: dict[str, Any] = json.loads(server.stdout.readline())
        except BaseException:  # what it still says would be taken for the answer to another order
            self._kill()
            raise
        return found

    def _kill(self) -> None:
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._server.stdin is not None:
            with suppress(BrokenPipeError):
                self._server.stdin.close()
        self._kill()
        self._server.wait(timeout=30)
        if self._server.stdout is not None:
            self._server.stdout.close()


def serve() -> None:
    """Forks for each job that standard input asks for."""
    running: dict[int, int] = {}
    for line in sys.stdin:
        order = json.loads(line)
        answer = {}
        if order["do"] == "start":
            child = os.fork()
            if child == 0:
                _job(order)
            running[order["number"]] = child
        else:
            answer["code"] = _code_of(running.pop(order["number"]))
        print(json.dumps(answer), flush=True)


def _code_of(child: int) -> int:
    """The exit code of a job, which is killed if it hangs."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


def _be_careless() -> None:
    """Files are written in their place, and one that is there is taken for whole: what `test_faults` must notice."""

    def write(store: LocalStore, name: str, parts: Iterable[Any]) -> None:
        with (store.root / name).open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())

    def size(store: LocalStore, name: str) -> Any:
        return mock.ANY if (store.root / name).exists() else None

    LocalStore.write = write  # type: ignore[assignment,method-assign]
    LocalStore.size = size  # type: ignore[assignment,method-assign]


def _job(order: dict[str, Any]) -> None:
    """One job, and the end of the process."""
    place = Path(order["place"])
    code = 1
    said = ""
    try:
        log = os.open(place.with_suffix(".moments"), os.O_CREAT | os.O_WRONLY)
        # What the server reads is not for the job.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        if (most := order.get("file_size")) is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        Moments(log, order.get("kill")).install()
        if order.get("careless"):
            _be_careless()
        known = ("do", "number", "place", "in", "out", "kill", "file_size", "careless")
        settings: dict[str, Any] = {
            "kind": KIND,
            "workers": 1,
            "shard_rows": 4,
            "device": "cpu",
            "progress": False,
        }
        settings |= {key: value for key, value in order.items() if key not in known}
        embed(order["in"], order["out"], **settings)
        code = DONE
    except CorpusError as error:
        code, said = REFUSED, str(error)
    except StoppedError as error:
        code, said = STOPPED, str(error)
    except BaseException as error:  # noqa: BLE001 - the test sees it
        said = repr(error)
    finally:
        place.with_suffix(".said").write_text(said)
        os._exit(code)


@contextmanager
def jobs(folder: Path) -> Iterator[Jobs]:
    """A server of jobs, and its end."""
    found = Jobs(folder)
    try:
        yield found
    finally:
        found.close()


if __name__ == "__main__":
    serve()
