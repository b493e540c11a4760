"""Where the events of a process come together: rules of each camera, store, films, MQTT, messages.

::

    desk = Desk(config)
    door = desk.camera("door", source_name)
    for result in results: door.step(observation_of(result))
    desk.close()
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from detector.labels import LabelMap
from stream.events.config import Outputs
from stream.events.discovery import slug
from stream.events.engine import RuleEngine
from stream.events.event_log import EventLog, keep_aside, take_aside
from stream.events.file_recorder import FileRecorder
from stream.events.mqtt import Announced, Command, MqttTarget
from stream.events.outbox import Deliverer
from stream.events.recorder import CameraRecorder
from stream.events.recording import shelf_of
from stream.events.records import Event, EventChange, Observation, with_media
from stream.events.rules import ActionRule, RuleSet
from stream.events.schema import StoreAway, data_dir
from stream.events.store import Store
from stream.events.tell import targets_of

log = logging.getLogger(__name__)
# Events whose films are still to come; a film that takes longer than so many further events is told without them.
REMEMBERED = 1000
TELL_BATCH = 500
FORGET_EVERY_S = 3600.0
# Counts of people are said over MQTT at most this often.
SAY_EVERY_S = 1.0


class Desk:
    """The events of one process. `camera` for each camera; close it at the end."""

    def __init__(
        self, config: Outputs, *, rules: RuleSet | None = None, folder: Path | None = None, writer: str = "",
        on_change: Callable[[EventChange], None] = lambda change: None,
        on_command: Callable[[Command], None] = lambda command: None,
        utc_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            config: where events go, of a file of events or of another program's.
            rules: of cameras that bring none of their own; those of the file of events unless given.
            folder: of films, where the configuration names none.
            writer: name of this process among several on one database.
            on_change: sees every change, in the thread that made it; must not wait.
            on_command: what is asked for over MQTT, after the desk itself has done its part.
            utc_clock: seconds since 1970.

        Raises:
            UserError: the store cannot be opened, a package is missing, an address is wrong.
        """
        self.config, self._utc, self._on_change, self._user_command = config, utc_clock, on_change, on_command
        self.rules = rules if rules is not None else config if isinstance(config, RuleSet) else RuleSet()
        self.shelf = shelf_of(config.films, folder or data_dir() / "films")
        self._cameras: dict[str, CameraDesk] = {}
        self._latest: OrderedDict[str, Event] = OrderedDict()
        self._lock = threading.Lock()
        self._mqtt: MqttTarget | None = None
        told = [
            target for tell in config.tell
            for target in targets_of(tell, zone=self.rules.tz(), picture_path=self._picture_path, utc_clock=utc_clock)
        ]
        names = [target.name for target in told] + (["mqtt"] if config.mqtt else [])
        self.store = Store(
            config.store.url.get_secret_value(), targets=names, writer=writer, utc_clock=utc_clock
        )
        self._aside = self.shelf.folder.parent / f"unwritten{f'-{slug(writer)}' if writer else ''}.jsonl"
        try:
            take_aside(self._aside, self.store)
            self.store.close_open()
        except StoreAway as error:
            log.warning("%s", error)
        self._deliverers = [Deliverer(self.store, t, batch=TELL_BATCH, utc_clock=utc_clock) for t in told]
        if config.mqtt is not None:
            self._mqtt = MqttTarget(config.mqtt, on_command=self._command, picture_of=self._jpeg)
            self._deliverers.append(Deliverer(self.store, self._mqtt, most_retry_s=5.0, utc_clock=utc_clock))
        self.log = EventLog(self.store, on_written=self._wake)
        self._forgot_s = -FORGET_EVERY_S

    def camera(
        self, name: str, source_name: str = "", *, rules: RuleSet | None = None, file: str | None = None,
        record: bool = True,
    ) -> CameraDesk:
        """Begin to watch a camera.

        Args:
            name: of the camera.
            source_name: what is watched, without credentials.
            rules: of this camera; the desk's unless given.
            file: path of a video file, whose films are cut out of it; None for a live source.
            record: make pictures and films, where the configuration wants them.
        """
        desk = CameraDesk(self, name, source_name, self.rules if rules is None else rules, file, record)
        self._cameras[name] = desk
        return desk

    def state(self) -> dict[str, Any]:
        """How everything is doing, for metrics: plain numbers and words without secrets."""
        try:
            backlog = self.store.backlog()
        except StoreAway:
            backlog = {}
        return {
            "log": asdict(self.log.state),
            "targets": {
                d.target.name: asdict(d.state) | dict(zip(("waiting", "dead"), backlog.get(d.target.name, (0, 0))))
                for d in self._deliverers
            },
            "films": {
                name: asdict(camera.recorder.state) for name, camera in self._cameras.items() if camera.recorder
            },
        }

    def close(self, timeout_s: float = 10.0) -> bool:
        """End events that go on, finish films, write, tell what can be told at once; True if nothing is left behind."""
        for camera in list(self._cameras.values()):
            camera.close()
        unwritten = self.log.close(timeout_s)
        kept = not unwritten or keep_aside(self._aside, unwritten)
        for deliverer in self._deliverers:
            if not deliverer.state.error:
                deliverer.wake()
                deliverer.drain(min(timeout_s, 3.0))
        stuck = [deliverer for deliverer in self._deliverers if not deliverer.close()]
        self.store.close()
        return kept and not stuck

    # ---- for cameras -------------------------------------------------------------------------------------------

    def put(self, change: EventChange) -> EventChange:
        """Take a change into the store's queue, with what is known of its pictures; never waits."""
        with self._lock:
            known = self._latest.get(change.event.id)
            if known is not None:
                change = replace(change, event=with_media(change.event, known.snapshot, known.film, known.film_lead_s))
            self._latest[change.event.id] = change.event
            self._latest.move_to_end(change.event.id)
            while len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
            # In the lock, so that changes of one event are stored in the order in which they were made.
            self.log.put([change])
        self._on_change(change)
        return change

    def put_media(self, made: EventChange) -> None:
        """A picture or a film is there."""
        with self._lock:
            before = self._latest.get(made.event.id, made.event)
            event = with_media(before, made.event.snapshot, made.event.film, made.event.film_lead_s)
            kind: Any = "film" if event.end_s is not None else "update"
            self._latest[event.id] = event
            self.log.put([EventChange(kind, event, before)])
        self._on_change(EventChange(kind, event, before))

    def say(self, camera: str, values: dict[str, str]) -> None:
        """States of a camera for MQTT."""
        if self._mqtt is not None:
            self._mqtt.state(camera, values)

    def announce(self, camera: CameraDesk, labels: LabelMap, model: str) -> None:
        """A camera's rules, for MQTT."""
        if self._mqtt is not None:
            self._mqtt.announce(Announced(
                camera.name, tuple(r for r in camera.rules.rules if r.applies_to(camera.name)),
                tuple(camera.counted(labels)), model,
            ))
            for rule, over in camera.engine.thresholds().items():
                self._mqtt.threshold(camera.name, rule, over)

    def withdraw(self, camera: str) -> None:
        """A camera is gone for good."""
        self._cameras.pop(camera, None)
        if self._mqtt is not None:
            self._mqtt.withdraw(camera)

    def _wake(self) -> None:
        for deliverer in self._deliverers:
            deliverer.wake()
        if time.monotonic() - self._forgot_s >= FORGET_EVERY_S:
            self._forgot_s = time.monotonic()
            try:
                self.store.forget(self._utc() - self.config.store.keep)
            except StoreAway as error:
                log.warning("old events stay: %s", error)

    def _picture_path(self, event: Event) -> Path:
        return self.shelf.path(self.shelf.name(event, "-boxes.jpg"))

    def _jpeg(self, event: Event) -> bytes | None:
        path = self.shelf.path(event.snapshot)
        try:
            return path.with_name(f"{path.stem}-boxes.jpg").read_bytes()
        except OSError:
            return None

    def _command(self, command: Command) -> None:
        camera = self._cameras.get(command.camera)
        if camera is not None:
            camera.command(command)
        self._user_command(command)


class CameraDesk:
    """One camera's rules and recorder.

    Attributes:
        name: of the camera.
        rules: what it is watched for.
        record: pictures and films may be made of it.
        engine: the rules at work.
        recorder: its films; None where none are wanted.
        paused: rules are not asked while it is.
    """

    def __init__(
        self, desk: Desk, name: str, source_name: str, rules: RuleSet, file: str | None, record: bool = True
    ) -> None:
        self.name, self.rules, self.record, self._desk = name, rules, record, desk
        self.engine = RuleEngine(name, rules, source=source_name)
        self.recorder: CameraRecorder | FileRecorder | None = None
        self.paused = False
        films = desk.config.films
        if record and (films.films or films.snapshots):
            if file is None:
                self.recorder = CameraRecorder(films, desk.shelf, desk.put_media, utc_clock=desk._utc)
            else:
                self.recorder = FileRecorder(films, desk.shelf, desk.put_media, file)
        self._labels: LabelMap | None = None
        self._said_s = 0.0
        self._last: Observation | None = None
        # Commands come in the connection's thread while a step may be under way.
        self._lock = threading.Lock()

    def step(self, seen: Observation) -> list[EventChange]:
        """Take an answer; gives what changed, already on its way."""
        with self._lock:
            if seen.labels is not self._labels:
                self._labels = seen.labels
                self._desk.announce(self, seen.labels, seen.model)
            changes = [] if self.paused else self.engine.step(seen)
            self._last = seen
        for line in self.engine.notices():
            log.warning("%s", line)
        self._say(seen)
        return self._put(changes)

    def set_rules(self, rules: RuleSet) -> None:
        """Watch for something else from now on; what goes on is ended, films and packets stay."""
        with self._lock:
            changes = self.engine.finish("rules changed")
            self.engine = RuleEngine(self.name, rules, source=self.engine.source)
            self.rules, self._labels = rules, None
        self._put(changes)

    def finish(self, because: str = "end of stream") -> list[EventChange]:
        """End what goes on."""
        with self._lock:
            changes = self.engine.finish(because)
        return self._put(changes)

    def command(self, command: Command) -> None:
        """Do what is asked for over MQTT."""
        if command.what == "threshold":
            with self._lock:
                done = self.engine.set_threshold(command.rule, command.value)
            if done:
                self._desk.say(self.name, {f"rules/{slug(command.rule)}/threshold/state": f"{command.value:g}"})
        elif command.what == "pause":
            self.paused = bool(command.value)
            if self.paused:
                self.finish("paused")
            self._desk.say(self.name, {"pause/state": "ON" if self.paused else "OFF"})
        elif command.what == "snapshot" and isinstance(self.recorder, CameraRecorder) and self._last is not None:
            now = self._desk._utc()
            self.recorder.snapshot(Event(
                self.engine.new_id(now), self.name, "snapshot", "snapshot", self._last.time_s, self._last.time_s,
                start_utc=now, told_utc=now, end_s=self._last.time_s, end_utc=now, peak_utc=now,
            ))

    def why_not(self, rule: str | None = None) -> list[str]:
        """What kept a rule, or all rules, from telling anything in the last minute, a line each."""
        with self._lock:
            return [str(hindrance) for hindrance in self.engine.why_not(rule)]

    def set_online(self, online: bool) -> None:
        """Say over MQTT whether the camera gives pictures."""
        self._desk.say(self.name, {"available": "online" if online else "offline"})

    def counted(self, labels: LabelMap) -> list[str]:
        """Actions of interest, whose people are counted: those that rules name."""
        names = [name for rule in self.rules.rules if isinstance(rule, ActionRule) for name in rule.action]
        return list(dict.fromkeys(labels[labels.find(name)].name for name in names))

    def close(self) -> None:
        """End what goes on and finish films."""
        self.finish()
        if self.recorder is not None:
            self.recorder.close()

    def _put(self, changes: list[EventChange]) -> list[EventChange]:
        put = [self._desk.put(change) for change in changes]
        for change in put:
            if self.recorder is not None:
                self.recorder.take(change)
        return put

    def _say(self, seen: Observation) -> None:
        if self._desk._mqtt is None or time.monotonic() - self._said_s < SAY_EVERY_S:
            return
        self._said_s = time.monotonic()
        values = {"people": str(len(seen.people))}
        limits = self.engine.thresholds()
        over = min(limits.values(), default=0.5)
        for name in self.counted(seen.labels):
            scores = seen.scores[:, seen.labels.find(name)]
            with np.errstate(invalid="ignore"):
                values[f"actions/{slug(name)}"] = str(int((scores >= over).sum()))
        self._desk.say(self.name, values)
