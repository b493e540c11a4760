"""Events of one stream on the command line: `python -m stream.webcam --events rules.yaml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.labels import LabelMap
from stream.events.config import load_events_file
from stream.events.desk import Desk
from stream.events.engine import check_actions
from stream.events.recorder import CameraRecorder
from stream.events.records import describe, observation_of
from stream.results import KeyFrameResult
from stream.sources import SAMPLE, Source, VideoFile
from stream.watching import Options

FILE_EVERY_S = 0.25


class WatchedEvents:
    """A file of events at work on one source. Make it, open the source with its `tap`, then `begin`."""

    def __init__(self, path: str, spec: str | None, live: bool, say: Callable[[str], None]) -> None:
        """
        Args:
            path: of the file of rules.
            spec: of the source, as the user named it; None for the first camera.
            live: a file is played as if it were a camera.
            say: takes lines for the person.

        Raises:
            UserError: a mistake in the file, or what it names cannot be opened.
        """
        self._config, self._lines = load_events_file(path)
        self._say, self._count = say, 0
        self._desk = Desk(self._config, writer=camera_name(spec))
        film = _film_of(spec)
        try:
            self._camera = self._desk.camera(
                camera_name(spec), file=str(film) if film is not None and not live else None
            )
        except BaseException:
            self._desk.close()
            raise

    @property
    def tap(self) -> Callable[[Any, Any], None] | None:
        """For `open_source`: keeps the camera's packets for films."""
        recorder = self._camera.recorder
        return recorder.tap if isinstance(recorder, CameraRecorder) else None

    def begin(self, source: Source, labels: LabelMap) -> Source:
        """Check the rules against a model's actions; gives the source to be watched.

        Raises:
            UserError: a rule names an action that the model does not have.
        """
        for path, message in check_actions(self._config, labels)[:1]:
            raise self._lines.error(path, message)
        self._camera.engine.source = source.name
        recorder = self._camera.recorder
        if isinstance(recorder, CameraRecorder) and not isinstance(source, VideoFile):
            return recorder.watched(source)
        return source

    def often_enough(self, options: Options, source: Source) -> Options:
        """Options whose answers about a file come often enough for what lasts a second, unless the user chose."""
        if source.live or options.every_s is not None:
            return options
        return replace(options, every_s=FILE_EVERY_S)

    def take(self, results: Iterable[KeyFrameResult]) -> None:
        """Answers, in order."""
        for result in results:
            changes = self._camera.step(observation_of(result))
            self._tell(changes)

    def close(self) -> None:
        """End what goes on, finish films, keep everything."""
        self._tell(self._camera.finish())
        if not self._desk.close():
            self._say("some events have not been told yet; they are kept and told the next time")
        self._say(f"{self._count} events in {self._desk.store.name}")

    def _tell(self, changes: Iterable[Any]) -> None:
        for change in changes:
            if change.kind == "start":
                self._count += 1
                self._say(describe(change.event))


def camera_name(spec: str | None) -> str:
    """A name for a source: `camera 0`, a file's stem, an address without credentials."""
    from stream.sources.secrets import redact

    if spec is None or spec.isdigit():
        return f"camera {spec or 0}"
    name = redact(spec).split("://", 1)[1] if "://" in spec else Path(spec).stem
    return re.sub(r"[/+#*?=&\x00-\x1f]+", "_", name).strip("_ $")[:64] or "camera"


def _film_of(spec: str | None) -> Path | None:
    """The file that a source is, if it is one."""
    if spec == "sample":
        return SAMPLE
    path = Path(spec.removeprefix("file://")) if spec else None
    return path if path is not None and path.is_file() else None
