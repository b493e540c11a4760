"""Pictures and films of a camera's events, in a thread of their own. What goes wrong here never stops an event."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detector.types import Frame
from stream.events.config import FilmConfig
from stream.events.films import FilmError, FilmWriter, picture_of
from stream.events.packets import FrameEncoder, PacketRing
from stream.events.recording import Recorder, RecorderState
from stream.events.records import Event, EventChange
from stream.events.shelf import Shelf
from stream.handoff import Closed, Handoff
from stream.sources import Source, SourceStatus

log = logging.getLogger(__name__)
# The ring reaches back this much more than the seconds before an event, for the look-ahead and a rule's own wait.
REACH_BACK_S = 15.0
# A film that gets no packets for this long past its end is closed: the camera is away.
PATIENCE_S = 10.0


@dataclass(slots=True, eq=False)
class _Film:
    """A film that is being written."""

    event: Event
    from_utc: float
    until_utc: float
    writer: FilmWriter | None = None
    last: int = -1
    first_utc: float = 0.0
    done: bool = False
    failed: bool = False


class CameraRecorder(Recorder):
    """Films of a live camera, from its own packets.

    `tap` takes packets in the capture thread; `watched` wraps a source whose packets cannot be had or not be kept.
    """

    def __init__(
        self, config: FilmConfig, shelf: Shelf, on_media: Callable[[EventChange], None], *,
        utc_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            config: what to film.
            shelf: where to.
            on_media: takes a change when a picture or a film is there; called in the recorder's thread.
            utc_clock: seconds since 1970; that of the events.
        """
        super().__init__(config, shelf, on_media)
        self._utc = utc_clock
        self.ring = PacketRing(round(config.memory_mb * 2**20), config.before + REACH_BACK_S, utc_clock)
        self._jobs: deque[tuple[str, Event]] = deque()
        self._films_open: dict[str, _Film] = {}
        self._frames: Handoff[Frame] = Handoff(2, "drop_oldest")
        self._threads = [threading.Thread(target=self._run, name="films", daemon=True)]
        self._threads[0].start()

    @property
    def tap(self) -> Callable:
        """For the source: takes (packet, stream) before the packet is decoded."""
        return self.ring.take

    @property
    def state(self) -> RecorderState:
        """Counts, from any thread."""
        return RecorderState(self._films, self._pictures, self._failed, self.ring.memory_bytes, self._error)

    def watched(self, source: Source) -> Source:
        """The source itself, whose pictures are encoded into the ring where its packets are none to be kept."""
        return _Watched(source, self.see)

    def take(self, change: EventChange) -> None:
        """A change of an event of this camera; never waits."""
        if change.kind in ("start", "end"):
            with self.ring.changed:
                self._jobs.append((change.kind, change.event))
                self.ring.changed.notify_all()

    def snapshot(self, event: Event) -> None:
        """Make a picture of an event now, such as one that was asked for."""
        with self.ring.changed:
            self._jobs.append(("snapshot", event))
            self.ring.changed.notify_all()

    def see(self, frame: Frame) -> None:
        """A picture; it is encoded into the ring where the camera's packets are none to be kept. Never waits."""
        if self.ring.usable:
            return
        if len(self._threads) == 1:
            self._threads.append(threading.Thread(target=self._encode, name="small films", daemon=True))
            self._threads[1].start()
        with contextlib.suppress(Closed):
            self._frames.put(frame)

    def close(self, timeout_s: float = 10.0) -> bool:
        """Finish the films with what there is; True if that ended in time."""
        self.ring.close()
        self._frames.close(discard=True)
        give_up_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(give_up_s - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _encode(self) -> None:
        encoder = FrameEncoder(self.ring)
        while True:
            try:
                encoder.add(self._frames.get())
            except Closed:
                return
            except Exception as error:
                log.warning("pictures cannot be kept for films: %s", error)
                return

    def _run(self) -> None:
        while True:
            with self.ring.changed:
                if not self._jobs and not self._films_open and not self.ring.closed:
                    self.ring.changed.wait_for(lambda: self._jobs or self.ring.closed)
                elif not self._jobs and not self.ring.closed:
                    self.ring.changed.wait(1.0)
                jobs = list(self._jobs)
                self._jobs.clear()
            for kind, event in jobs:
                self._guarded(self._begin if kind == "start" else self._finish_later, event)
                if self._config.snapshots:
                    self._guarded(self._picture, event)
            for film in list(self._films_open.values()):
                self._guarded(self._go_on, film.event)
            if self.ring.closed and not self._jobs:
                for film in list(self._films_open.values()):
                    film.done = True
                    self._guarded(self._go_on, film.event)
                return

    def _guarded(self, job: Callable[[Event], None], event: Event) -> None:
        try:
            job(event)
        except Exception as error:
            # A picture that cannot be made is worth a line, not a camera.
            self._fail(event, f"{type(error).__name__}: {error}")

    def _picture(self, event: Event) -> None:
        moment = event.peak_utc if event.peak_utc is not None else event.told_utc
        if moment is not None:
            self._snapshot(event, picture_of(self.ring.around(moment), moment))

    def _begin(self, event: Event) -> None:
        if not self._config.films or event.start_utc is None:
            return
        begin = event.start_utc - self._config.before
        # What began long before it was told (loitering) is filmed from as far back as the ring reaches.
        self._films_open[event.id] = _Film(event, begin, event.start_utc + self._config.longest)

    def _finish_later(self, event: Event) -> None:
        film = self._films_open.get(event.id)
        if film is None:
            return
        film.event = event
        end = event.end_utc if event.end_utc is not None else self._utc()
        film.until_utc = min(film.until_utc, max(end, event.told_utc or end) + self._config.after)

    def _go_on(self, event: Event) -> None:
        """Write what has come since, and close what is complete."""
        film = self._films_open[event.id]
        packets = self.ring.after(film.last) if film.writer else self.ring.around(film.from_utc)
        if not film.failed:
            try:
                self._append(film, [p for p in packets if p.utc <= film.until_utc])
            except FilmError as error:
                film.failed = True
                self._fail(event, str(error))
        past = bool(packets) and packets[-1].utc > film.until_utc
        if past or film.done or self._utc() > film.until_utc + PATIENCE_S:
            self._close(film)

    def _append(self, film: _Film, packets: list) -> None:
        for kept in packets:
            if film.writer is None:
                self._make_room()
                name = self._shelf.name(film.event, ".mp4")
                film.writer = FilmWriter(self._shelf.path(name), kept.template)
            elif kept.template != film.writer.template:
                film.done = True  # the camera was connected again with another stream
                return
            film.writer.write(kept)
            film.first_utc = film.first_utc or kept.utc
            film.last = kept.number

    def _close(self, film: _Film) -> None:
        del self._films_open[film.event.id]
        if film.writer is None:
            return None if film.failed else self._fail(film.event, "no packets of that time")
        try:
            film.writer.close()
        except FilmError as error:
            film.failed = True
            self._fail(film.event, str(error))
        if film.failed:
            film.writer.path.unlink(missing_ok=True)
            return None
        lead_s = (film.event.start_utc or film.first_utc) - film.first_utc
        return self._made(film.event, self._shelf.name(film.event, ".mp4"), lead_s)


class _Watched:
    """A source whose frames somebody else sees too."""

    def __init__(self, source: Source, see: Callable[[Frame], None]) -> None:
        self._source, self._see = source, see
        self.name, self.live, self.fps = source.name, source.live, source.fps

    @property
    def status(self) -> SourceStatus:
        """Of the source."""
        return self._source.status

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            self._see(frame)
            yield frame

    def close(self) -> None:
        """Close the source."""
        self._source.close()
