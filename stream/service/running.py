"""The service as a whole: reads the file, keeps cameras running, reads it again when it changes, tells its state."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from detector.errors import UserError
from stream.metrics import resident_bytes
from stream.service.camera import MOST_WAIT_S, Camera
from stream.service.counts import Meter
from stream.service.event_desk import EventDesk, films_from_packets
from stream.service.listeners import Listeners
from stream.service.logs import Secrets
from stream.service.metrics import Metrics
from stream.service.names import check_names
from stream.service.pictures import Pictures
from stream.service.reading import Described, read_cameras
from stream.service.rule_reading import secrets_of
from stream.service.settings import Camera as Settings
from stream.service.sharing import Sharing
from stream.service.snapshot import CameraNow, Snapshot
from stream.service.supervisor import Changes, Supervisor
from stream.sources import SAMPLE, Source, VideoFile
from stream.sources.decode import Decoding
from stream.sources.device import open_camera
from stream.sources.network import open_network
from stream.sources.reconnect import Backoff

log = logging.getLogger(__name__)
TICK_S = 0.25
SWEEP_S = 15.0
# The loop that starts and stops cameras is alive while it has turned within this time.
ALIVE_S = 15.0


class Service:
    """Many cameras from one file.

    Attributes:
        listeners: told of each answer.
        events: rules at work, and what they found.
        metrics, pictures: for the API.
        supervisor: the cameras.
    """

    def __init__(
        self, path: str | Path, *, environ: Mapping[str, str] = os.environ,
        create_sharing: Callable[[Meter], Sharing] | None = None,
        open_camera: Callable[[Settings, Decoding], Source] | None = None, secrets: Secrets | None = None,
        check: Callable[[Described], None] = check_names, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file; nothing runs before `start`.

        Args:
            path: of the cameras' file.
            environ: for `${NAME}`.
            create_sharing: makes what cameras share.
            open_camera: opens an address, live.
            secrets: learns what must not be logged.
            check: checks names that only models know, once more when the file is read again.
            clock: seconds, monotonic.

        Raises:
            UserError: mistakes in the file.
        """
        self._path, self._environ, self._check, self._clock = Path(path), environ, check, clock
        self._secrets = secrets or Secrets()
        self.described = self._read()
        self.events = EventDesk()
        self.metrics = Metrics(self.snapshot, self.events)
        self.pictures = Pictures(self.metrics, clock)
        self.listeners = Listeners()
        self._sharing = (create_sharing or _create_sharing)(self.metrics)
        self._open_camera = open_camera or open_watched
        self.supervisor = Supervisor(self._create, self._release, clock=clock)
        self._stop, self._reload = threading.Event(), threading.Event()
        self._wake = threading.Condition()
        self._reloads, self._refused = 0, False
        self._start_s = self._turned_s = clock()
        self.listeners.add(self.events.take)

    def start(self) -> Changes:
        """Start the cameras that the file describes.

        Raises:
            UserError: the store of events cannot be opened.
        """
        self.events.apply(self.described)
        return self.supervisor.apply(self.described.file.cameras)

    def run(self, on_turn: Callable[[], None] = lambda: None) -> None:
        """Keep them running until `stop`; reads the file again when `ask_reload` was called."""
        swept_s = self._clock()
        while not self._stop.is_set():
            if self._reload.is_set():
                self._reload.clear()
                self.reload()
            self.supervisor.tick()
            self.events.note(self.supervisor.reports())
            self._turned_s = self._clock()
            if self._turned_s - swept_s > SWEEP_S:
                self._sharing.sweep()
                swept_s = self._turned_s
            on_turn()
            with self._wake:
                self._wake.wait_for(lambda: self._stop.is_set() or self._reload.is_set(), TICK_S)

    def ask_reload(self) -> None:
        """Have the file read again soon."""
        self._reload.set()
        self._poke()

    def stop(self) -> None:
        """End `run` soon; from any thread."""
        self._stop.set()
        self._poke()

    def reload(self) -> Changes | None:
        """Read the file again and change what changed; None where it is refused, and then all stays as it is."""
        try:
            described = self._read()
        except UserError as error:
            for line in str(error).splitlines():
                log.error("not taken over: %s", line)
            log.error("%s is refused, %d cameras go on as before", self._path, len(self.supervisor.cameras()))
            self._refused = True
            return None
        if described.file.server != self.described.file.server:
            log.warning("what changed under server holds from the next start on")
        self._refused, self._reloads = False, self._reloads + 1
        self.described = described
        ruled = self._apply_rules(described)
        changes = self.supervisor.apply(described.file.cameras)
        changes = replace(changes, rules=tuple(n for n in ruled if n not in (*changes.added, *changes.changed)))
        for name in (*changes.changed, *changes.removed):
            self.pictures.forget(name)
        log.info("%s read again: %s", self._path, changes)
        return changes

    def add(self, name: str, settings: dict[str, Any]) -> None:
        """Run one more camera until the process ends; keys that are missing come from the file's defaults.

        Raises:
            UserError: a mistake in the name or the settings, one line each.
        """
        from stream.service.reading import read_one

        one = read_one(name, settings, self.described)
        self._check(one)
        self._learn(one)
        self.supervisor.add(name, one.file.cameras[name])
        try:
            self.events.add(name, one)
        except UserError:
            self.supervisor.remove(name)
            raise

    def remove(self, name: str) -> None:
        """Stop a camera and forget it; one of the file comes back when its entry changes or with the next start.

        Raises:
            UserError: there is none of that name.
        """
        self.supervisor.remove(name)
        self.events.remove(name)

    @property
    def alive(self) -> bool:
        """The loop that starts and stops cameras turns."""
        return self._clock() - self._turned_s < ALIVE_S

    def snapshot(self) -> Snapshot:
        """How all is now."""
        now_s = self._clock()
        running = {camera.name: camera for camera in self.supervisor.cameras()}
        cameras = tuple(
            CameraNow(
                report.name, report.state, self._secrets.clean(report.message), report.wanted,
                round(report.silent_s, 3), report.too_silent,
                report.name in running and running[report.name].awake,
                *([running[report.name].counts.numbers(now_s)] if report.name in running else []),
            )
            for report in self.supervisor.reports()
        )
        models = tuple(
            f"{session.model.name}, {session.engine_name or 'starting'}, {session.detector_name}"
            for session in self._sharing.sessions()
        )
        return Snapshot(
            cameras, {**self._sharing.waiting(), "listeners": self.listeners.waiting}, models, resident_bytes(),
            threading.active_count(), self.listeners.dropped, self._reloads, self._refused, now_s - self._start_s,
        )

    def close(self, timeout_s: float = 2.5) -> bool:
        """Stop all cameras and free what they share; True if all ended in time."""
        self.stop()
        give_up_s = time.monotonic() + timeout_s
        ended = self.supervisor.close(timeout_s / 4)
        # What was answered goes to those who want to know before anything is freed.
        ended = self.listeners.close(timeout_s / 4) and ended
        ended = self.events.close(timeout_s / 2) and ended
        return self._sharing.close(max(give_up_s - time.monotonic(), 0.2)) and ended

    def _read(self) -> Described:
        described = read_cameras(self._path, self._environ)
        self._check(described)
        self._learn(described)
        return described

    def _apply_rules(self, described: Described) -> list[str]:
        names = self.supervisor.names()
        try:
            return self.events.apply(described, keep=tuple(n for n in names if not self.supervisor.is_from_file(n)))
        except UserError as error:
            log.error("events are not watched for: %s", error)
            return []

    def _learn(self, described: Described) -> None:
        token = described.file.server.token
        self._secrets.learn([
            *secrets_of(described.events),
            *(s.get_secret_value() for c in described.file.cameras.values() for s in (c.source, c.detect) if s),
            *([token.get_secret_value()] if token else []),
        ])

    def _create(self, name: str, settings: Settings) -> Camera:
        events = self.events
        may_keep = films_from_packets(settings)
        camera = Camera(
            name, settings, open_session=lambda: self._sharing.join(camera), open_source=self._open_camera,
            on_answer=self.listeners.tell, wake=self._sharing.wake, meter=self.metrics, clock=self._clock,
            tap=partial(events.tap, name) if may_keep and settings.detect is None else None,
            on_picture=partial(events.see, name),
        )
        events.begin_reading(name, settings)
        return camera

    def _release(self, camera: Camera) -> None:
        self.events.end_reading(camera.name)
        self._sharing.leave(camera)
        self.pictures.forget(camera.name)

    def _poke(self) -> None:
        with self._wake:
            self._wake.notify_all()


def _create_sharing(meter: Meter) -> Sharing:
    return Sharing(meter=meter)


def open_watched(settings: Settings, decoding: Decoding | None = None) -> Source:
    """Open a camera's address; a file plays for ever as if it were a camera.

    Args:
        settings: of the camera.
        decoding: how pictures are taken out of it; as the settings say unless given.

    Raises:
        UserError: it cannot be opened.
    """
    spec = settings.watched.strip()
    decoding = decoding or Decoding(settings.decode.hardware)
    backoff = Backoff(most_s=MOST_WAIT_S)
    if spec.isdigit() or spec.startswith("/dev/"):
        return open_camera(spec, backoff=backoff)
    if "://" in spec and not spec.lower().startswith("file:"):
        return open_network(spec, live=True, loop=True, decoding=decoding, backoff=backoff)
    path = SAMPLE if spec == "sample" else spec.removeprefix("file://")
    return VideoFile(path, live=True, loop=True, decoding=decoding)
