"""Films and pictures out of encoded packets, without encoding them again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector.data.decode import VideoError, open_video
from stream.events.packets import KEPT_CODECS, Kept, template_of

# A fragment is on disk after this long: a killed process loses no more.
FRAGMENT_US = 1_000_000


class FilmError(Exception):
    """A film or a picture cannot be made; one line."""


class FilmWriter:
    """An MP4 that grows packet by packet; playable after a kill up to about the last second."""

    def __init__(self, path: Path, template: bytes) -> None:
        """
        Raises:
            FilmError: it cannot be written.
        """
        import av

        self.path, self.template = path, template
        flags = {"movflags": "empty_moov+default_base_moof+frag_keyframe", "frag_duration": str(FRAGMENT_US),
                 "flush_packets": "1"}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._source: Any = av.open(io.BytesIO(template))
            self._container: Any = av.open(str(path), "w", format="mp4", options=flags)
            self._stream = self._container.add_stream_from_template(self._source.streams.video[0])
        except (OSError, av.FFmpegError) as error:
            raise FilmError(f"{path.name}: {error.strerror}") from None
        self._first: int | None = None
        self._last_dts = -1
        self.packets = 0

    def write(self, kept: Kept) -> None:
        """Append a packet; the first must be a key frame.

        Raises:
            FilmError: the disk is full, or the like.
        """
        import av

        if self._first is None:
            if not kept.key:
                return
            self._first = kept.dts
            self._stream.time_base = kept.base
        packet = av.Packet(kept.data)
        packet.dts = max(kept.dts - self._first, self._last_dts + 1)
        packet.pts = max(kept.pts - self._first, packet.dts)
        packet.time_base, packet.is_keyframe, packet.stream = kept.base, kept.key, self._stream
        self._last_dts = kept.dts - self._first if packet.dts == kept.dts - self._first else packet.dts
        try:
            self._container.mux(packet)
        except (OSError, av.FFmpegError) as error:
            raise FilmError(f"{self.path.name}: {error.strerror}") from None
        self.packets += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            FilmError: the disk is full, or the like.
        """
        import av

        container, self._container = self._container, None
        if container is None:
            return
        try:
            container.close()
        except (OSError, av.FFmpegError) as error:
            raise FilmError(f"{self.path.name}: {error.strerror}") from None
        finally:
            self._source.close()
        if not self.packets:
            self.path.unlink(missing_ok=True)


def picture_of(packets: Sequence[Kept], utc: float) -> np.ndarray | None:
    """Decode the picture that arrived nearest to a moment; (H, W, 3) uint8 BGR, None where none can be."""
    import av

    if not packets or not packets[0].key:
        return None
    wanted = min(packets, key=lambda kept: abs(kept.utc - utc))
    best: Any = None
    with av.open(io.BytesIO(packets[0].template)) as source:
        context = source.streams.video[0].codec_context
        for kept in packets:
            if kept.template != packets[0].template:
                break
            packet = av.Packet(kept.data)
            packet.pts, packet.dts, packet.time_base = kept.pts, kept.dts, kept.base
            try:
                frames = context.decode(packet)
                if kept is packets[-1]:
                    frames += context.decode(None)
            except av.FFmpegError:
                continue
            for frame in frames:
                if best is None or abs((frame.pts or 0) - wanted.pts) < abs((best.pts or 0) - wanted.pts):
                    best = frame
            if best is not None and (best.pts or 0) >= wanted.pts:
                break
    return None if best is None else best.to_ndarray(format="bgr24")


def cut_film(source: str, path: Path, from_s: float, to_s: float) -> float:
    """Cut a part out of a video file without encoding it again; another codec than H.264 or H.265 is encoded.

    Args:
        source: the file.
        path: of the new one.
        from_s, to_s: media time, from the file's first picture on; it begins at the key frame before.

    Returns:
        Media time of its first picture.

    Raises:
        FilmError: it cannot be read or written.
    """
    import av

    try:
        with av.open(source) as container:
            stream: Any = container.streams.video[0]
            first_s = float((stream.start_time or 0) * stream.time_base)
            if stream.codec_context.name not in KEPT_CODECS:
                return _encode_part(container, stream, path, first_s + from_s, first_s + to_s) - first_s
            if from_s > 0:
                container.seek(int((first_s + from_s) / stream.time_base), stream=stream)
            writer: FilmWriter | None = None
            for packet in container.demux(stream):
                if packet.dts is None or (writer is None and not packet.is_keyframe):
                    continue
                if float(packet.dts * packet.time_base) > first_s + to_s:
                    break
                pts = packet.dts if packet.pts is None else packet.pts
                if writer is None:
                    writer = FilmWriter(path, template_of(stream, packet))
                    begun_s = float(pts * packet.time_base) - first_s
                writer.write(Kept(0, bytes(packet), pts, packet.dts, packet.time_base, packet.is_keyframe, 0.0, b""))
            if writer is None:
                raise FilmError(f"{path.name}: no picture between {from_s:.1f} and {to_s:.1f} s")
            writer.close()
            return begun_s
    except (OSError, av.FFmpegError) as error:
        raise FilmError(f"{path.name}: {error.strerror}") from None


def _encode_part(container: Any, stream: Any, path: Path, from_s: float, to_s: float) -> float:
    from stream.outputs.film import Mp4Writer

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = Mp4Writer(path, float(stream.average_rate or 25), crf=26)
    begun_s: float | None = None
    try:
        # Files without an index cannot be sought in; they are short enough to be read through.
        for frame in container.decode(stream):
            if frame.time is not None and frame.time > to_s:
                break
            if frame.time is not None and frame.time >= from_s:
                begun_s = frame.time if begun_s is None else begun_s
                writer.write(frame.to_ndarray(format="bgr24"), frame.time)
    finally:
        writer.close()
    return from_s if begun_s is None else begun_s


def picture_in(source: str, time_s: float) -> np.ndarray | None:
    """The picture of a video file at a media time, (H, W, 3) uint8 BGR, upright; None where there is none."""
    try:
        with open_video(source) as video:
            best = None
            for picture in video.pictures(max(time_s, 0.0)):
                best = picture
                if picture.time_s is None or picture.time_s >= time_s - 1e-3:
                    break
            return None if best is None else best.bgr()
    except VideoError:
        return None
