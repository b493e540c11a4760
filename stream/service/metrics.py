"""Numbers for Prometheus. The one door to prometheus_client.

Totals and gauges are read off the cameras when they are asked for; only durations and batch sizes are kept here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

from stream.service.counts import Part, State
from stream.service.event_desk import EventDesk
from stream.service.snapshot import CameraNow, Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST
DELAYS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32)
Family = CounterMetricFamily | GaugeMetricFamily


class Metrics:
    """A registry of its own; also the `Meter` of the cameras."""

    def __init__(self, snapshot: Callable[[], Snapshot], events: EventDesk | None = None) -> None:
        """
        Args:
            snapshot: how all cameras are now; called with each scrape.
            events: asked likewise.
        """
        self._snapshot, self._events, self._lock = snapshot, events, threading.Lock()
        self._observed: set[str] = set()
        self._registry = CollectorRegistry()
        # Before the histograms: it takes rows of cameras that are gone out of them.
        self._registry.register(self)  # type: ignore[arg-type]
        ProcessCollector(registry=self._registry)
        self._delay = Histogram(
            "slowfast_delay_seconds", "From capture to label (total), and what it consists of", ("camera", "part"),
            buckets=DELAYS_S, registry=self._registry,
        )
        self._clips = Histogram(
            "slowfast_batch_clips", "Clips in one call of a network", ("model",), buckets=BATCHES,
            registry=self._registry,
        )
        self._people = Histogram(
            "slowfast_batch_people", "People in one call of a network", ("model",), buckets=BATCHES,
            registry=self._registry,
        )

    def delay(self, camera: str, part: Part, seconds: float) -> None:
        """A part of an answer or a picture took so long."""
        self._observed.add(camera)
        self._delay.labels(camera, part).observe(max(seconds, 0.0))

    def batch(self, model: str, clips: int, people: int) -> None:
        """So many clips with so many people went through a network in one call."""
        self._clips.labels(model).observe(clips)
        self._people.labels(model).observe(people)

    def text(self) -> bytes:
        """All of it in Prometheus' format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Any]:
        """Nothing that is known before the first scrape."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Totals and gauges now."""
        now = self._snapshot()
        self._forget({camera.name for camera in now.cameras})
        yield from _camera_families(now.cameras)
        waiting = GaugeMetricFamily("slowfast_waiting", "Who waits now: cameras for a turn, answers for listeners",
                                    labels=("queue",))
        for queue, count in now.waiting.items():
            waiting.add_metric([queue], count)
        yield waiting
        yield GaugeMetricFamily("slowfast_memory_bytes", "Physical memory of the process", value=now.memory_bytes)
        yield GaugeMetricFamily("slowfast_threads", "Threads of the process", value=now.threads)
        yield CounterMetricFamily("slowfast_listener_drops", "Answers dropped because listeners are too slow",
                                  value=now.listener_drops)
        yield CounterMetricFamily("slowfast_reloads", "Times that the cameras' file was read again", value=now.reloads)
        yield GaugeMetricFamily("slowfast_file_refused", "1 while a new cameras' file is refused and the old one holds",
                                value=float(now.refused))
        state = self._events.state() if self._events is not None else None
        if self._events is not None and state is not None:
            yield from event_families(dict(self._events.started), state)

    def _forget(self, cameras: set[str]) -> None:
        """Cameras that are gone leave no rows."""
        with self._lock:
            for name in self._observed - cameras:
                for part in get_args(Part):
                    try:
                        self._delay.remove(name, part)
                    except KeyError:  # it never had that part
                        continue
                self._observed.discard(name)


def event_families(started: dict[tuple[str, str], int], state: dict[str, Any]) -> Iterable[Family]:
    """Events, and what becomes of them.

    Args:
        started: events so far by (camera, rule).
        state: of `Desk.state`.
    """
    events = CounterMetricFamily("slowfast_events", "Events that began", labels=("camera", "rule"))
    for (camera, rule), count in started.items():
        events.add_metric([camera, rule], count)
    yield events
    log = state["log"]
    yield GaugeMetricFamily("slowfast_events_unwritten", "Changes of events that wait for the store",
                            value=log["waiting"])
    yield GaugeMetricFamily("slowfast_events_store_away", "1 while the store does not take events",
                            value=float(bool(log["error"])))
    yield CounterMetricFamily("slowfast_events_written", "Changes of events that are in the store",
                              value=log["written"])
    yield CounterMetricFamily("slowfast_events_lost", "Beginnings and ends of events that were lost", value=log["lost"])
    for key, name, text in (
        ("waiting", "slowfast_events_untold", "Changes of events that a target has not got yet"),
        ("dead", "slowfast_events_given_up", "Changes of events that a target will never get"),
    ):
        family = GaugeMetricFamily(name, text, labels=("target",))
        for target, about in state["targets"].items():
            family.add_metric([target], about[key])
        yield family
    away = GaugeMetricFamily("slowfast_events_target_away", "1 while a target does not take events",
                             labels=("target",))
    for target, about in state["targets"].items():
        away.add_metric([target], float(bool(about["error"])))
    yield away
    for key, name, text in (
        ("films", "slowfast_event_films", "Films of events"), ("pictures", "slowfast_event_pictures",
                                                                "Pictures of events"),
        ("failed", "slowfast_event_media_failures", "Films and pictures of events that could not be made"),
    ):
        total = CounterMetricFamily(name, text, labels=("camera",))
        for camera, about in state["films"].items():
            total.add_metric([camera], about[key])
        yield total
    memory = GaugeMetricFamily("slowfast_event_packet_bytes", "Memory of packets kept for films", labels=("camera",))
    for camera, about in state["films"].items():
        memory.add_metric([camera], about["memory_bytes"])
    yield memory


def _camera_families(cameras: tuple[CameraNow, ...]) -> Iterable[Family]:
    def gauge(name: str, text: str, value: Callable[[CameraNow], float]) -> Family:
        family = GaugeMetricFamily(f"slowfast_{name}", text, labels=("camera",))
        for camera in cameras:
            family.add_metric([camera.name], value(camera))
        return family

    def total(name: str, text: str, label: str, value: Callable[[CameraNow], dict[str, float]]) -> Family:
        family = CounterMetricFamily(f"slowfast_{name}", text, labels=("camera", label))
        for camera in cameras:
            for reason, count in value(camera).items():
                family.add_metric([camera.name, reason], count)
        return family

    yield gauge("camera_online", "1 while pictures come", lambda c: float(c.state == "online"))
    yield gauge("camera_wanted", "1 while the camera should be on", lambda c: float(c.wanted))
    yield gauge("camera_too_silent", "1 while it is silent longer than its limit", lambda c: float(c.too_silent))
    yield gauge("camera_silent_seconds", "Seconds since the last picture", lambda c: c.silent_s)
    yield gauge("camera_awake", "1 while something moves", lambda c: float(c.awake))
    yield gauge("camera_people", "People in the last search", lambda c: c.numbers.people)
    yield gauge("pictures_per_second", "Pictures a second that come in", lambda c: c.numbers.taken_fps)
    yield gauge("shown_per_second", "Pictures a second that are handed out", lambda c: c.numbers.shown_fps)
    yield gauge("answers_per_second", "Answers a second", lambda c: c.numbers.answers_per_s)
    yield total("pictures", "Pictures", "kind", lambda c: {"taken": c.numbers.taken, "shown": c.numbers.shown})
    yield total("looks", "Searches for people and answers", "kind",
                lambda c: {"search": c.numbers.searches, "answer": c.numbers.answers})
    yield total("busy_seconds", "Time spent on a camera", "part",
                lambda c: {"detector": c.numbers.search_s, "network": c.numbers.network_s})
    yield total("drops", "What was left out", "reason", lambda c: dict(c.numbers.drops))
    yield total("reconnects", "Times that the camera went away", "reason", lambda c: dict(c.numbers.reconnects))
    states = GaugeMetricFamily("slowfast_camera_state", "1 for the state that the camera is in",
                               labels=("camera", "state"))
    for camera in cameras:
        for state in get_args(State):
            states.add_metric([camera.name, state], float(camera.state == state))
    yield states
