"""A process that is killed: it writes events as fast as it can, tells them on, and says what was acknowledged.

Arguments: folder, first number, database. Each acknowledged event's id is a line of `acknowledged`, each change that was told a
line of `told`; both are on disk before the next one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from events_fakes import an_event

from stream.events.outbox import Deliverer
from stream.events.records import EventChange
from stream.events.store import Store, Written


class Line:
    """A file whose lines are on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, text: str) -> None:
        os.write(self._file, f"{text}\n".encode())


class ToFile:
    """A receiver that always takes what comes, one at a time."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._lines = Line(path)

    def send(self, due) -> int:
        self._lines.add(f"{due[0].change_id} {due[0].change.event.id} {due[0].change.kind}")
        return 1

    def close(self) -> None:
        """Nothing to close."""


def main(folder: Path, number: int, url: str) -> None:
    store = Store(url, targets=("file",))
    deliverer = Deliverer(store, ToFile(folder / "told"))
    acknowledged = Line(folder / "acknowledged")
    while True:
        event = an_event(id=f"e{number}")
        for kind in ("start", "end"):
            store.write([Written(EventChange(kind, event))])
            acknowledged.add(f"e{number} {kind}")
            deliverer.wake()
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
