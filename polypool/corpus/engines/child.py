"""A process that makes shards for its parent: `python -m polypool.corpus.engines.child FD`.

It reads a job and then the numbers of shards from a socket, and answers `("ready",)`, `("tick", shard, rows, tokens)`,
`("made", Made)` or `("failed", why)`. When the socket closes, the parent is gone, and so is this process, at once: it
must not write beside the next job.
"""

from __future__ import annotations

import os
import pickle
import sys
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from polypool._errors import first_line
from polypool.corpus.errors import CorpusError, StoppedError


def main(handle: int) -> None:
    """Works until the parent is gone."""
    connection = Connection(handle)
    orders: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_listen, args=(connection, orders), daemon=True).start()
    try:
        from polypool.corpus.work import Worker, unpacked

        worker = Worker(unpacked(pickle.loads(orders.get())))
        connection.send(("ready",))
        while True:
            number = pickle.loads(orders.get())
            made = worker.make(number, partial(_tick, connection, number))
            connection.send(("made", made))
    except (BrokenPipeError, ConnectionResetError):
        return
    except BaseException as error:  # noqa: BLE001 - told to the parent, which ends the job with it
        connection.send(("failed", explain(error)))


def _tick(connection: Connection, shard: int, rows: int, tokens: int) -> None:
    connection.send(("tick", shard, rows, tokens))


def _listen(connection: Connection, orders: SimpleQueue[bytes]) -> None:
    """Hands bytes over and looks at none of them: whatever they hold, the end of the parent is noticed here."""
    while True:
        try:
            orders.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def explain(error: BaseException) -> str:
    """Why a job stopped, in one line."""
    if isinstance(error, CorpusError | StoppedError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the output'}: {error.strerror}."
    return f"{type(error).__name__}: {first_line(error)}."


if __name__ == "__main__":
    main(int(sys.argv[1]))
