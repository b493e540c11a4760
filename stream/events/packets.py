"""The last seconds of a camera as it sent them: encoded packets, bounded in bytes and seconds. Films are in `films`."""

from __future__ import annotations

import io
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from detector.types import Frame
from stream.geometry import fit_short_side

log = logging.getLogger(__name__)
# What browsers play in MP4; anything else is encoded once.
KEPT_CODECS = ("h264", "hevc")
TIME_BASE = Fraction(1, 90_000)
SMALL_SHORT_SIDE_PX = 360


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """A packet as it came.

    Attributes:
        number: counts up within a ring.
        data: encoded bytes.
        pts, dts: in `base` seconds.
        key: a decoder can begin here.
        utc: when it arrived, seconds since 1970.
        template: what kind of stream it is of; another one where the camera was connected again.
    """

    number: int
    data: bytes
    pts: int
    dts: int
    base: Fraction
    key: bool
    utc: float
    template: bytes


def template_of(stream: Any, packet: Any) -> bytes:
    """A tiny file that remembers a stream's codec and size after the stream is gone; NUT keeps them unchanged."""
    import av

    kept = io.BytesIO()
    with av.open(kept, "w", format="nut") as container:
        copy = container.add_stream_from_template(stream)
        first = av.Packet(bytes(packet))
        first.pts = first.dts = 0
        first.time_base, first.is_keyframe, first.stream = packet.time_base, True, copy
        container.mux(first)
    return kept.getvalue()


class PacketRing:
    """The newest packets of one camera; `take` in the capture thread, the rest from any."""

    def __init__(self, most_bytes: int, most_s: float, utc_clock: Callable[[], float]) -> None:
        """
        Args:
            most_bytes: kept at most; whole groups of pictures are dropped, oldest first.
            most_s: kept at most.
            utc_clock: seconds since 1970.
        """
        self._most_bytes, self._most_s, self._utc = most_bytes, most_s, utc_clock
        self._kept: deque[Kept] = deque()
        self._stream: Any = None
        self._template = b""
        self._number = 0
        self._bytes = 0
        self._waiting_for_key = True
        self._closed = False
        self.usable: bool | None = None
        self.changed = threading.Condition()

    @property
    def memory_bytes(self) -> int:
        """Memory of the packets that are kept."""
        return self._bytes

    @property
    def seconds(self) -> float:
        """Between the oldest and the newest that is kept."""
        with self.changed:
            return self._kept[-1].utc - self._kept[0].utc if self._kept else 0.0

    @property
    def closed(self) -> bool:
        """No more will come."""
        return self._closed

    def take(self, packet: Any, stream: Any) -> None:
        """Keep a demuxed packet; call it before the packet is decoded."""
        import av

        if packet.dts is None or not packet.size:
            return
        if stream is not self._stream:
            self._stream, self._waiting_for_key = stream, True
            self.usable = stream.codec_context.name in KEPT_CODECS
        if not self.usable or (self._waiting_for_key and not packet.is_keyframe):
            return
        if self._waiting_for_key:
            try:
                self._template = template_of(stream, packet)
            except (av.FFmpegError, ValueError) as error:
                log.warning("packets cannot be kept (%s); films are encoded anew", error)
                self.usable = False
                return
            self._waiting_for_key = False
        pts = packet.dts if packet.pts is None else packet.pts
        self.add(bytes(packet), pts, packet.dts, packet.time_base, packet.is_keyframe, self._template)

    def add(self, data: bytes, pts: int, dts: int, base: Fraction, key: bool, template: bytes) -> None:
        """Keep an encoded packet."""
        with self.changed:
            kept = Kept(self._number, data, pts, dts, base, key, self._utc(), template)
            self._number += 1
            self._kept.append(kept)
            self._bytes += len(data)
            self._drop()
            self.changed.notify_all()

    def after(self, number: int) -> list[Kept]:
        """Packets that came after a number, those that are still here."""
        with self.changed:
            return [kept for kept in self._kept if kept.number > number]

    def around(self, utc: float) -> list[Kept]:
        """Packets from the last key frame at or before a moment on; from the oldest one where that is gone."""
        with self.changed:
            kept = list(self._kept)
        keys = [i for i, packet in enumerate(kept) if packet.key]
        begin = max((i for i in keys if kept[i].utc <= utc), default=keys[0] if keys else len(kept))
        return kept[begin:]

    def close(self) -> None:
        """Nothing more comes; whoever waits goes on."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def _drop(self) -> None:
        newest_s = self._kept[-1].utc
        while len(self._kept) > 1 and (
            self._bytes > self._most_bytes or newest_s - self._kept[0].utc > self._most_s
        ):
            if self._bytes <= self._most_bytes:
                # Too old, but a later picture may need it: it goes with its whole group, when that is too old.
                second = next((k for k in list(self._kept)[1:] if k.key), None)
                if second is None or newest_s - second.utc <= self._most_s:
                    return
            self._bytes -= len(self._kept.popleft().data)
            while self._kept and not self._kept[0].key and len(self._kept) > 1:
                self._bytes -= len(self._kept.popleft().data)


class FrameEncoder:
    """Small H.264 out of full pictures, for cameras whose own packets no browser plays."""

    def __init__(self, ring: PacketRing, fps: float = 15.0) -> None:
        self._ring, self._fps = ring, fps
        self._stream: Any = None
        self._container: Any = None
        self._template = b""
        self._size_hw = (0, 0)
        self._pts = -1

    def add(self, frame: Frame) -> None:
        """Encode a picture into the ring; one of another size begins anew."""
        import av
        import cv2

        h, w = fit_short_side(frame.size_hw, SMALL_SHORT_SIDE_PX) if min(frame.size_hw) > SMALL_SHORT_SIDE_PX \
            else frame.size_hw
        size_hw = (h - h % 2, w - w % 2)
        small = cv2.resize(frame.image, size_hw[::-1], interpolation=cv2.INTER_AREA)
        planes = cv2.cvtColor(small, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        if size_hw != self._size_hw:
            self._template = self._template_for(size_hw, planes)
            self._container, self._stream = self._open(size_hw, io.BytesIO())
            self._size_hw, self._pts = size_hw, -1
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        self._pts = max(round(frame.time_s / TIME_BASE), self._pts + 90)
        picture.pts, picture.time_base = self._pts, TIME_BASE
        for packet in self._stream.encode(picture):
            self._ring.add(bytes(packet), packet.pts, packet.dts, packet.time_base, packet.is_keyframe, self._template)

    def _open(self, size_hw: tuple[int, int], into: io.BytesIO) -> tuple[Any, Any]:
        import av

        container = av.open(into, "w", format="nut")
        options = {"crf": "26", "preset": "ultrafast", "tune": "zerolatency", "bf": "0"}
        stream = container.add_stream("libx264", rate=round(self._fps), options=options)
        stream.height, stream.width, stream.pix_fmt = *size_hw, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.gop_size = max(round(2 * self._fps), 1)
        return container, stream

    def _template_for(self, size_hw: tuple[int, int], planes: np.ndarray) -> bytes:
        """What an encoder of these settings writes in front; it is the same each time."""
        import av

        kept = io.BytesIO()
        container, stream = self._open(size_hw, kept)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts, picture.time_base = 0, TIME_BASE
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        container.close()
        return kept.getvalue()
