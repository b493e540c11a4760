"""The events of all cameras: their answers go to their rules, and what happens to store, films, MQTT and messages.

What may be kept is what may be seen: a camera with `masks` or `blur` is filmed from pictures as others see them, one
with `pictures: none` not at all; only a camera that hides nothing is filmed from its own packets.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from detector.types import Frame
from stream.events.desk import CameraDesk, Desk
from stream.events.recorder import CameraRecorder
from stream.events.records import EventChange, describe, observation_of
from stream.events.rules import RuleSet
from stream.results import KeyFrameResult
from stream.service.filming import PacketReader
from stream.service.reading import Described
from stream.service.settings import Camera as Settings
from stream.service.supervisor import Report
from stream.sources.secrets import redact

log = logging.getLogger(__name__)
Follower = Callable[[EventChange], None]


class EventDesk:
    """Rules of many cameras at work; `apply` the file, `take` answers, close it at the end.

    Attributes:
        desk: where the events come together; None while nothing is watched for.
        started: events so far by (camera, rule).
    """

    def __init__(self, *, writer: str = "") -> None:
        """
        Args:
            writer: name of this process among several on one database.
        """
        self._writer = writer
        self.desk: Desk | None = None
        self.started: Counter[tuple[str, str]] = Counter()
        self._events: Any = None
        self._watched: dict[str, CameraDesk] = {}
        self._online: dict[str, bool] = {}
        self._readers: dict[str, PacketReader] = {}
        self._followers: tuple[Follower, ...] = ()
        self._lock = threading.RLock()

    # ---- what is watched for -----------------------------------------------------------------------------------

    def apply(self, described: Described, *, keep: tuple[str, ...] = ()) -> list[str]:
        """Watch for what a file describes; gives the cameras whose rules changed.

        Args:
            described: the file.
            keep: cameras that it does not describe and that go on.

        Raises:
            UserError: the store cannot be opened, a package is missing.
        """
        with self._lock:
            if described.events is not None and self.desk is None:
                self._open(described)
            elif described.events != self._events and self.desk is not None:
                log.warning("what changed under events holds from the next start on")
            for name in set(self._watched) - set(described.rules) - set(keep):
                self.remove(name)
            return [name for name in described.rules if self._watch(name, described)]

    def add(self, name: str, described: Described) -> None:
        """Watch for one more camera's rules."""
        with self._lock:
            if self.desk is None and described.rules[name].rules:
                self._open(described)
            self._watch(name, described)

    def remove(self, name: str) -> None:
        """A camera is gone for good."""
        with self._lock:
            camera = self._watched.pop(name, None)
            self._online.pop(name, None)
            if camera is not None and self.desk is not None:
                camera.close()
                self.desk.withdraw(name)

    # ---- what cameras bring ------------------------------------------------------------------------------------

    def take(self, name: str, result: KeyFrameResult) -> None:
        """An answer of a camera; a listener of the service."""
        camera = self._watched.get(name)
        if camera is not None:
            camera.step(observation_of(result))

    def tap(self, name: str, packet: Any, stream: Any) -> None:
        """A packet of a camera that hides nothing, in its reading thread."""
        recorder = self._recorder(name)
        if recorder is not None:
            recorder.tap(packet, stream)

    def see(self, name: str, frame: Frame) -> None:
        """A picture of a camera as others may see it; kept where there are no packets."""
        recorder = self._recorder(name)
        if recorder is not None:
            recorder.see(frame)

    def begin_reading(self, name: str, settings: Settings) -> None:
        """Read the packets of a camera's large stream where the small one is looked at."""
        if films_from_packets(settings) and settings.detect is not None:
            with self._lock:
                self.end_reading(name)
                self._readers[name] = PacketReader(
                    settings.source.get_secret_value(), lambda packet, stream: self.tap(name, packet, stream),
                    wanted=lambda: self._recorder(name) is not None,
                )

    def end_reading(self, name: str) -> None:
        """The camera is off."""
        with self._lock:
            reader = self._readers.pop(name, None)
        if reader is not None:
            reader.close()

    def note(self, reports: list[Report]) -> None:
        """Tell whether cameras give pictures, when that has changed."""
        for report in reports:
            camera, online = self._watched.get(report.name), report.state == "online"
            if camera is not None and self._online.get(report.name) is not online:
                self._online[report.name] = online
                camera.set_online(online)

    # ---- who is told -------------------------------------------------------------------------------------------

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Call it with every change from now on, in the thread that made it; the result takes it off again."""
        self._followers = (*self._followers, follower)

        def leave() -> None:
            self._followers = tuple(one for one in self._followers if one is not follower)

        return leave

    def camera(self, name: str) -> CameraDesk | None:
        """A camera's rules at work."""
        return self._watched.get(name)

    def state(self) -> dict[str, Any] | None:
        """How store, films and targets are doing; None while nothing is watched for."""
        return self.desk.state() if self.desk is not None else None

    def close(self, timeout_s: float) -> bool:
        """End events that go on and keep everything; True if nothing is left behind."""
        for name in list(self._readers):
            self.end_reading(name)
        return self.desk is None or self.desk.close(timeout_s)

    def _open(self, described: Described) -> None:
        assert described.events is not None
        self._events = described.events
        first = next(iter(described.rules.values()), RuleSet())
        self.desk = Desk(
            described.events, rules=RuleSet(timezone=first.timezone), writer=self._writer, on_change=self._changed,
        )
        log.info("events are kept in %s", self.desk.store.name)

    def _watch(self, name: str, described: Described) -> bool:
        """Begin or change what a camera is watched for; True where its rules changed."""
        rules, settings = described.rules[name], described.file.cameras[name]
        camera, record = self._watched.get(name), settings.pictures == "live"
        if self.desk is None or (camera is None and not rules.rules):
            return False
        if camera is not None and camera.record is record:
            if camera.rules == rules:
                return False
            camera.set_rules(rules)
            return True
        if camera is not None:
            self.remove(name)
        shown = redact(settings.source.get_secret_value())
        self._watched[name] = self.desk.camera(name, shown, rules=rules, record=record)
        return True

    def _recorder(self, name: str) -> CameraRecorder | None:
        camera = self._watched.get(name)
        recorder = camera.recorder if camera is not None else None
        return recorder if isinstance(recorder, CameraRecorder) else None

    def _changed(self, change: EventChange) -> None:
        event = change.event
        if change.kind == "start":
            self.started[event.camera, event.rule] += 1
            log.info("event %s: %s", event.id, describe(event))
        for follower in self._followers:
            try:
                follower(change)
            except Exception as error:
                log.warning("a follower of events failed: %s: %s", type(error).__name__, error)


def films_from_packets(settings: Settings) -> bool:
    """Whether a camera's own packets may be kept: it hides nothing."""
    return settings.pictures == "live" and settings.blur == "none" and not settings.masks
