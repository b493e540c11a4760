"""The one way pictures come out of video: files and network streams, for streaming, training, evaluation, the page.

What comes out is upright, has square pixels and ordinary brightness, whatever the container holds: the film is taken
and not its cover, phones' rotation is undone, interlaced pictures lose their combs, HDR is tone-mapped. On ordinary
video the pictures are FFmpeg's to the bit. The one door to PyAV's decoders; it knows nothing of clips and cameras.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.data.first_look import MAX_PIXELS, open_if_too_large
from detector.data.tone import HLG, PQ, ToneMap
from detector.errors import UserError

log = logging.getLogger(__name__)
# Pixels up to this much wider than high (or the other way) are called square: encoders round.
SQUARE_WITHIN = 0.01
# Pixels of a stranger shape than this are a mistake in the file.
STRANGEST_PIXEL = 5.0
# A damaged container is asked for this many more packets before it is given up.
READ_TRIES = 16
# Damage within so many packets is one place; as many as the second may wait in a decoder with threads.
NEAR_PACKETS, TAIL_PACKETS = 16, 64
# Between two pictures of a Matroska file that has a frame rate there is no more than this, unless some are lost: where
# a cluster is damaged its reader goes on at the next one without a word.
LEAP_S, LEAP_FRAMES = 1.0, 5.0
LEAPING_FORMAT = "matroska,webm"
# A file that lacks this much of the length it claims ends early; less is rounding.
EARLY_S, EARLY_FRAMES = 0.25, 3.0
NO_FILE, NO_FILM = "no such file", "no video in it, expected at least one video stream"
UNKNOWN_CODEC = "no decoder here for its pictures:"
# FFmpeg aborts the process when it is asked to convert these.
NO_PICTURE = ("yaf32le", "yaf32be", "yaf16le", "yaf16be")


@dataclass(frozen=True)
class Decoding:
    """How pictures are taken out of a stream.

    Attributes:
        hardware: `none`, `auto`, `vaapi` or `cuda`; where there is no such decoder, one line and software.
        keys_only: asked before each packet; True leaves out all but key frames (nine tenths of the work and more).
        tap: is shown (packet, stream) before the packet is decoded, in the reading thread; None for nobody.
        every: asked before each picture; one of so many is turned into colours, the others are left out.
        packets_only: decode nothing; what reads the stream wants its packets alone.
    """

    hardware: str = "none"
    keys_only: Callable[[], bool] = lambda: False
    tap: Callable[[Any, Any], None] | None = None
    every: Callable[[], int] = lambda: 1
    packets_only: bool = False


class VideoError(Exception):
    """A video cannot give the pictures asked for; the text says why, in a few words, without its name."""


class Picture:
    """A decoded picture, turned into colours when they are asked for.

    Attributes:
        stamp_s: the container's time stamp in seconds, or None.
        time_s: the same from the film's beginning on.
    """

    __slots__ = ("_frame", "_turn", "_video", "stamp_s", "time_s")

    def __init__(self, video: Video, frame: Any, time_s: float | None) -> None:
        self._video, self._frame, self._turn = video, frame, _turn(frame)
        self.stamp_s, self.time_s = frame.time, time_s

    def bgr(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR, upright, square pixels.

        Raises:
            VideoError: of a format that cannot be converted.
        """
        return self._array("bgr24")

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, square pixels.

        Raises:
            VideoError: of a format that cannot be converted.
        """
        return self._array("rgb24")

    def _array(self, order: str) -> np.ndarray:
        import av

        name = self._frame.format.name
        if name in NO_PICTURE:
            raise VideoError(f"pictures of format {name} cannot be shown")
        try:
            image = self._video.converted(self._video.tone_mapped(self._frame), order)
        except (OSError, ValueError, av.FFmpegError) as error:
            raise VideoError(f"pictures of format {name} cannot be shown ({_reason(error)})") from None
        return _upright(_squared(image, self._video.pixel_shape), *self._turn)


class Video:
    """An open container and its film; iterate `pictures` once.

    Attributes:
        fps: frames a second as the container says, None where it does not; not always believable.
        duration_s: as the container says; None where it does not.
        start_s: time stamp of the film's beginning.
        format_name: of the container, as FFmpeg calls it.
        unreadable: packets that could not be read or decoded so far; their pictures are missing.
        damaged: places with damage so far, whether pictures are missing there or spoilt.
        early_s: how much is missing at the end; known when all has been read.
        leapt_s: how much of the time before holds no picture where there should be some.
    """

    def __init__(
        self, container: Any, stream: Any, place: str | Path, is_file: bool, decoding: Decoding | None = None
    ) -> None:
        self._container, self._stream, self._place, self._is_file = container, stream, place, is_file
        decoding = decoding or Decoding()
        self._keys_only, self._needs_key, self._packets_only = decoding.keys_only, False, decoding.packets_only
        self._tap, self._every, self._left_out = decoding.tap, decoding.every, 0
        rate = stream.average_rate or stream.guessed_rate
        self.fps = float(stream.average_rate) if stream.average_rate else None
        self._period_s = 1 / float(rate) if rate and 0 < rate <= 1000 else 0.04
        self._base = float(stream.time_base or Fraction(1, 90_000))
        self._start = stream.start_time or 0
        self.start_s = self._start * self._base
        whole_s = container.duration / 1e6 if container.duration and container.duration > 0 else None
        self._film_s = stream.duration * self._base if stream.duration and stream.duration > 0 else None
        self.duration_s = whole_s
        self._claimed_s = self._film_s if self._film_s is not None else whole_s
        self.format_name = container.format.name
        self._options: dict[str, str] = {}
        self.unreadable = self.damaged = 0
        self.early_s: float | None = None
        self.leapt_s = 0.0
        self._read_to_s: float | None = None
        self.end_s = self.start_s
        self._since_damage = TAIL_PACKETS + 1
        self._last_s: float | None = None
        self._deinterlace: _Deinterlacer | None = None
        self._converter = _converter()
        self._tone: tuple[tuple[Any, ...], ToneMap] | None = None

    @property
    def film_s(self) -> float | None:
        """How long the film is, sound left aside where that is known; None where the container does not say."""
        return self._claimed_s

    @property
    def pixel_shape(self) -> float:
        """Width of a stored pixel over its height."""
        ratio = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio
        shape = float(ratio) if ratio else 1.0
        return shape if 1 / STRANGEST_PIXEL <= shape <= STRANGEST_PIXEL else 1.0

    @property
    def coded_hw(self) -> tuple[int, int]:
        """Height and width of the pictures as they are stored: neither turned nor squared."""
        return self._stream.codec_context.height, self._stream.codec_context.width

    def pictures(self, from_s: float = 0.0) -> Iterator[Picture]:
        """Pictures in the order of showing.

        Args:
            from_s: seconds from the beginning; above 0 begins at a key frame before, where the index leads.

        Raises:
            VideoError: a stream broke off or fell silent. A file never raises; see `damaged` and `early_s`.
        """
        if from_s > 0:
            self._container.seek(math.floor((from_s + self.start_s) / self._base), stream=self._stream, backward=True)
        for packet in self._packets():
            for frame in () if self._packets_only else self._decode(packet):
                if self._is_wanted():
                    yield from self._finished(frame)
        for frame in () if self._packets_only else self._lost_at_end():
            yield from self._finished(frame)
        if self._deinterlace is not None:
            yield from self._deinterlace.rest()
        if self._is_file and self._claimed_s is not None:
            missing_s = self._claimed_s - (self.end_s - self.start_s)
            if missing_s > max(EARLY_S, EARLY_FRAMES * self._period_s):
                self.early_s = missing_s

    def tone_mapped(self, frame: Any) -> Any:
        """The frame itself, or what it looks like on an ordinary screen if it is HDR."""
        transfer = int(self._stream.codec_context.color_trc or 0)
        if transfer not in (PQ, HLG):
            return frame
        kind = (frame.width, frame.height, frame.format.name, int(frame.colorspace), transfer)
        if self._tone is None or self._tone[0] != kind:
            self._tone = (kind, ToneMap(frame, transfer))
        return self._tone[1].apply(frame)

    def converted(self, frame: Any, order: str) -> np.ndarray:
        """(H, W, 3) uint8 of a frame.

        One converter serves all pictures, in the calling thread: PyAV's own makes one for each, with threads that are
        begun and ended, which costs two to three times the work and fails where many cameras do so at once.
        """
        return self._converter(frame, order).to_ndarray()

    def close(self) -> None:
        """Let go of the file or hang up."""
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _packets(self) -> Iterator[Any]:
        """Packets of the film, and at the end one that asks the decoder for what waits in it (None, if need be)."""
        import av

        # Where only the whole container's length is known, sound may be what lasts that long.
        wanted = () if self._is_file and self._film_s is None else (self._stream,)
        packets, failures = self._container.demux(*wanted), 0
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError as error:
                if not self._is_file:
                    raise VideoError(_reason(error)) from None
                self._count(unreadable=not failures)
                failures += 1
                if failures >= READ_TRIES:
                    yield None
                    return
                packets = self._container.demux(*wanted)
                continue
            failures = 0
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.end_s = max(self.end_s, end)
                self._note_leap(packet, end)
            if packet.stream.index == self._stream.index:
                self._since_damage += 1
                if self._tap is not None:
                    self._tap(packet, self._stream)
                yield packet

    def _is_wanted(self) -> bool:
        self._left_out += 1
        if self._left_out < self._every():
            return False
        self._left_out = 0
        return True

    def _note_leap(self, packet: Any, end_s: float) -> None:
        if not self._is_file or self.format_name != LEAPING_FORMAT or packet.stream.index != self._stream.index:
            return
        if self._read_to_s is not None:
            leap_s = float(packet.pts * packet.time_base) - self._read_to_s
            if leap_s > max(LEAP_S, LEAP_FRAMES * self._period_s):
                self.leapt_s += leap_s
        self._read_to_s = max(end_s, self._read_to_s if self._read_to_s is not None else end_s)

    def _decode(self, packet: Any) -> list[Any]:
        import av

        try:
            frames = self._decoded(packet)
        except av.EOFError:
            return []
        except av.FFmpegError:
            # A damaged packet costs its pictures, not the rest of the video.
            self._count(unreadable=True)
            return []
        if (packet is not None and packet.is_corrupt) or any(frame.is_corrupt for frame in frames):
            self._count(unreadable=False)
        return frames

    def _decoded(self, packet: Any) -> list[Any]:
        context = self._stream.codec_context
        if packet is None or not packet.size:  # the end: what the decoder still holds
            return context.decode(None) if packet is None else packet.decode()
        keys_only = self._keys_only()
        if not packet.is_keyframe and (keys_only or self._needs_key):
            # What follows refers to this picture, so nothing can be decoded before the next key frame.
            self._needs_key = True
            return []
        frames = packet.decode()
        self._needs_key = False
        if keys_only and not frames:
            # With B-frames a decoder holds pictures back, which now come seconds apart.
            frames = context.decode(None)
            context.flush_buffers()
            self._needs_key = True
            for frame in frames:  # what is drained does not know its stream
                frame.time_base = self._stream.time_base
        return frames

    def _lost_at_end(self) -> Iterator[Any]:
        """Frames behind the last, decoded again without threads: a damaged packet keeps PyAV from what waits there."""
        if not self._is_file or self._since_damage > TAIL_PACKETS or self._last_s is None:
            return
        last_s = self._last_s
        with suppress(VideoError), open_video(
            self._place, options=self._options, low_delay=True, threads=1
        ) as again:
            again._container.seek(math.floor(last_s / self._base), stream=again._stream, backward=True)
            for packet in again._packets():
                for frame in again._decode(packet):
                    if frame.time is not None and frame.time > last_s:
                        yield frame

    def _count(self, unreadable: bool) -> None:
        # What a decoder says of one packet may come with its neighbours, in other threads.
        self.damaged += self._since_damage > NEAR_PACKETS
        self._since_damage = 0
        self.unreadable += unreadable

    def _finished(self, frame: Any) -> Iterator[Picture]:
        self._last_s = frame.time
        picture = Picture(self, frame, None if frame.pts is None else (frame.pts - self._start) * self._base)
        if self._deinterlace is None and not frame.interlaced_frame:
            yield picture
            return
        if self._deinterlace is None or not self._deinterlace.takes(frame):
            if self._deinterlace is not None:
                yield from self._deinterlace.rest()
            self._deinterlace = _Deinterlacer(frame)
        yield from self._deinterlace.pass_through(frame, picture)


def _converter() -> Callable[[Any, str], Any]:
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()

    def convert(frame: Any, order: str) -> Any:
        try:
            return reformatter.reformat(frame, format=order, threads=1)
        except TypeError:  # an older PyAV
            return reformatter.reformat(frame, format=order)

    return convert


class _Deinterlacer:
    """FFmpeg's bwdif over a run of frames of one kind; each comes out once, those that have no combs untouched."""

    def __init__(self, frame: Any) -> None:
        import av.filter

        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        graph.link_nodes(
            source, graph.add("bwdif", mode="send_frame", parity="auto", deint="interlaced"), graph.add("buffersink")
        )
        graph.configure()
        self._graph, self._kind = graph, self._kind_of(frame)
        self._waiting: deque[Picture] = deque()
        self._pushed = 0

    def takes(self, frame: Any) -> bool:
        return self._kind_of(frame) == self._kind

    def pass_through(self, frame: Any, picture: Picture) -> Iterator[Picture]:
        # The filter wants times that rise; the pictures keep their own.
        frame.pts, self._pushed = self._pushed, self._pushed + 1
        self._waiting.append(picture)
        self._graph.vpush(frame)
        yield from self._ready()

    def rest(self) -> Iterator[Picture]:
        """What still waits for a next frame."""
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> Iterator[Picture]:
        import av

        while self._waiting:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            picture = self._waiting.popleft()
            picture._frame = frame
            yield picture

    @staticmethod
    def _kind_of(frame: Any) -> tuple[int, int, str]:
        return frame.width, frame.height, frame.format.name


def open_video(
    place: str | Path, *, is_file: bool = True, timeout_s: tuple[float, float] | None = None,
    options: dict[str, str] | None = None, low_delay: bool = False, threads: int = 0,
    decoding: Decoding | None = None,
) -> Video:
    """Open a file or a network stream.

    Args:
        place: path of a file, whatever its name holds, or (not `is_file`) an address that FFmpeg knows.
        is_file: says which.
        timeout_s: for opening and for each read of a stream.
        options: FFmpeg's, for the protocol or the format; `max_pixels` holds for the decoder too.
        low_delay: do not let several frames be decoded at once, which delays them.
        threads: of the decoder; 0 takes what the machine has.
        decoding: by what, and which pictures.

    Raises:
        VideoError: it cannot be opened or holds no video.
    """
    import av

    # Without "file:" a colon in a name is taken for a protocol.
    name = f"file:{os.fspath(place)}" if is_file else str(place)
    try:
        given = {"timeout": timeout_s, "options": options or {}, "metadata_errors": "ignore"}
        # What is too large is given with its size, and its decoder refuses it.
        container = open_if_too_large(name, given, _film) if is_file and options and MAX_PIXELS in options else None
        container = container or _open_container(name, given, decoding.hardware if decoding else "none")
    except FileNotFoundError:
        raise VideoError(NO_FILE) from None
    except (OSError, ValueError, av.FFmpegError) as error:
        raise VideoError(_reason(error)) from None
    stream = _film(container)
    if stream is None:
        codecs = [_codec_name(s) for s in container.streams if s.type == "video"]
        container.close()
        raise VideoError(f"{UNKNOWN_CODEC} {codecs[0]}" if codecs else NO_FILM)
    stream.thread_type = "SLICE" if low_delay else "AUTO"
    if threads:
        stream.codec_context.thread_count = threads
    if options and MAX_PIXELS in options:
        stream.codec_context.options = {MAX_PIXELS: options[MAX_PIXELS]}
    video = Video(container, stream, place, is_file, decoding)
    video._options = options or {}
    return video


def _open_container(name: str, given: dict[str, Any], hardware: str) -> Any:
    import av

    if hardware == "none":
        return av.open(name, **given)
    from av.codec.hwaccel import HWAccel, hwdevices_available

    for kind in ("cuda", "vaapi") if hardware == "auto" else (hardware,):
        if kind not in hwdevices_available():
            continue
        try:
            return av.open(name, **given, hwaccel=HWAccel(kind, allow_software_fallback=True))
        except (RuntimeError, NotImplementedError, PermissionError, av.error.ExternalError):  # no such device here
            continue
    log.warning("no %s decoder here; pictures are decoded in software", "hardware" if hardware == "auto" else hardware)
    return av.open(name, **given)


def open_named(path: str | Path) -> Video:
    """Open a video.

    Raises:
        UserError: it cannot be read; names the file.
    """
    try:
        return open_video(path)
    except VideoError as error:
        raise UserError(f"video {path}: cannot be read ({error})") from None


def _film(container: Any) -> Any:
    """The stream to watch: the first that is a film and can be decoded; covers and thumbnails are not films."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    films = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & still]
    # A cover that is not marked as one is a single picture beside a film.
    return next((s for s in films if s.frames != 1), films[0] if films else None)


def _codec_name(stream: Any) -> str:
    with suppress(Exception):
        return str(stream.codec_context.name)
    return "something"


def _squared(image: np.ndarray, pixel_shape: float) -> np.ndarray:
    """Pixels as wide as they are high; the shorter side of a pixel is stretched, so nothing is lost."""
    if abs(math.log(pixel_shape)) < SQUARE_WITHIN:
        return image
    h, w = image.shape[:2]
    size = (round(w * pixel_shape), h) if pixel_shape > 1 else (w, round(h / pixel_shape))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """What makes a picture upright: swap its axes, then mirror it left to right, then top to bottom."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    # FFmpeg: x' = a x + c y, y' = b x + d y, in the order a b . c d . of 3 x 3 numbers. Odd angles go to the nearest.
    a, b, c, d = (float(n) for n in np.frombuffer(bytes(data), "<i4")[[0, 1, 3, 4]])
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if swapped else (False, a < 0, d < 0)


def _upright(image: np.ndarray, swapped: bool, left_right: bool, top_bottom: bool) -> np.ndarray:
    # Phones store portrait video lying down with a note, and what the front camera saw mirrored.
    if swapped:
        image = cv2.transpose(image)
    if left_right or top_bottom:
        image = cv2.flip(image, -1 if left_right and top_bottom else 1 if left_right else 0)
    return image


def _reason(error: BaseException) -> str:
    """FFmpeg's own words, without the address that its messages repeat."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return "it fell silent" if text == "Immediate exit requested" else str(text)
