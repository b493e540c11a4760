"""Films of a video file's events: cut out of it, once an event has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stream.events.config import FilmConfig
from stream.events.films import cut_film, picture_in
from stream.events.recording import Recorder, RecorderState
from stream.events.records import Event, EventChange
from stream.events.shelf import Shelf
from stream.handoff import Closed, Handoff


class FileRecorder(Recorder):
    """Films of a video file: cut out of it, once an event has ended."""

    def __init__(
        self, config: FilmConfig, shelf: Shelf, on_media: Callable[[EventChange], None], source: str
    ) -> None:
        """
        Args:
            config, shelf, on_media: as for `CameraRecorder`.
            source: path of the file.
        """
        super().__init__(config, shelf, on_media)
        self._source = source
        self._jobs: Handoff[Event] = Handoff(1_000_000)
        self._thread = threading.Thread(target=self._run, name="films", daemon=True)
        self._thread.start()

    @property
    def state(self) -> RecorderState:
        """Counts, from any thread."""
        return RecorderState(self._films, self._pictures, self._failed, 0, self._error)

    def take(self, change: EventChange) -> None:
        """A change of an event; its end sets off the film."""
        if change.kind == "end":
            self._jobs.put(change.event)

    def close(self, timeout_s: float = 600.0) -> bool:
        """Make the films that are still to be made; True if that ended in time."""
        self._jobs.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                event = self._jobs.get()
            except Closed:
                return
            try:
                self._record(event)
            except Exception as error:
                self._fail(event, f"{type(error).__name__}: {error}")

    def _record(self, event: Event) -> None:
        if self._config.snapshots:
            self._snapshot(event, picture_in(self._source, event.peak_s))
        if not self._config.films:
            return
        name = self._shelf.name(event, ".mp4")
        end_s = max(event.end_s or event.told_s, event.told_s)
        until_s = min(end_s + self._config.after, event.start_s + self._config.longest)
        self._make_room()
        from_s = max(event.start_s - self._config.before, 0.0)
        first_s = cut_film(self._source, self._shelf.path(name), from_s, until_s)
        self._made(event, name, event.start_s - first_s)
