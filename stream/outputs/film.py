"""Writing H.264 in MP4 that browsers play. The one door to PyAV's encoders."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from detector.errors import UserError
from detector.files import readable_name
from stream.outputs.names import free_name

TIME_BASE = Fraction(1, 90_000)
# Two pictures at one moment cannot be stored; the second is a millisecond later.
MIN_STEP = 90
# Players seek to these.
KEY_FRAME_EVERY_S = 2.0
# FFmpeg's numbers for video range and for BT.601 (SMPTE 170M).
COLOUR_RANGE, COLOUR_SPACE = 1, 6
# A film of this size gets its index within the time that a polite kill leaves.
HURRY_BYTES = 50_000_000
SUFFIXES = (".mp4", ".m4v", ".mov")


class Mp4Writer:
    """An MP4 file that grows picture by picture, each shown at its own time.

    Every picture is on its way to the disk when the next one comes, as a fragment of its own: a killed process leaves
    a film that plays and lacks its last picture at most. `close` rewrites it with the index in front, which lets
    browsers start at once and seek. When the disk is full, what was written stays and plays.

    Attributes:
        path: of the film; while nothing is written, of the film to be.
        pictures: that were written; fewer than were given where the disk was full.
    """

    def __init__(
        self, path: str | Path, fps: float | None = None, crf: int = 24, preset: str = "veryfast", *,
        overwrite: bool = False,
    ) -> None:
        """
        Args:
            path: of the file; its last folder is made where it is missing. The file comes with the first picture.
            fps: nominal rate, for the encoder's rate control; pictures keep their own times.
            crf: quality of x264, lower is better.
            preset: of x264.
            overwrite: replace a film of that name; otherwise a new one gets a new name, `film-2.mp4`.

        Raises:
            UserError: it cannot be written, or its name does not end in .mp4.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            ending = self.path.suffix or "nothing"
            raise UserError(f"{readable_name(path)}: got a name ending in {ending!r}, expected .mp4")
        try:
            self.path.parent.mkdir(exist_ok=True)
            if not overwrite:
                self.path = free_name(self.path)
            elif self.path.exists() and not self.path.is_file():
                raise UserError(f"{readable_name(path)}: is no ordinary file, expected another path for a film")
        except OSError as error:
            raise _cannot(path, error) from None
        self._overwrite = overwrite
        self._fps = Fraction(fps or 25).limit_denominator(1001)
        # No picture waits in the encoder, for another process may be killed any moment; without B-frames times begin
        # at 0 in a fragmented file too.
        self._options = {"crf": str(crf), "preset": preset, "bf": "0", "tune": "zerolatency"}
        self._file: _WholePieces | None = None
        self._container: Any = None
        self._stream: Any = None
        self._size_hw = (0, 0)
        self._first_s = 0.0
        self._last_pts = -MIN_STEP
        self._closed = False
        self.pictures = 0

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append a picture.

        Args:
            image: (H, W, 3) uint8 BGR. One of another size than the first is fitted into that.
            time_s: when it is shown; the first picture's is the file's beginning.

        Raises:
            UserError: the disk is full, or the like.
        """
        import av

        if self._closed:
            raise ValueError(f"{self.path}: is closed, expected to be written to before that")
        if self._stream is None:
            self._begin(image.shape[:2])
            self._first_s = time_s
        # OpenCV rounds this conversion properly and is quicker at it than FFmpeg's default.
        planes = cv2.cvtColor(_fit_even(image, self._size_hw), cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = max(round((time_s - self._first_s) / TIME_BASE), self._last_pts + MIN_STEP)
        frame.time_base = TIME_BASE
        self._last_pts = frame.pts
        self._mux(frame)
        self.pictures += 1

    def close(self, in_a_hurry: bool = False) -> None:
        """Finish the file; may be called twice.

        Args:
            in_a_hurry: leave a long film without its index in front, which takes a second for some hundred megabytes.

        Raises:
            UserError: the disk is full, or the like. What was written stays, and plays.
        """
        if self._closed:
            return
        self._closed = True
        if self._file is None:
            return
        was_well = not self._file.failed
        try:
            if was_well:
                self._mux(None, last=True)
            else:
                self._container.close()
        finally:
            self._file.close_file()
            if self._file.failed and not self.pictures:
                self.path.unlink(missing_ok=True)
        if self.pictures and not (in_a_hurry and self._file.whole_bytes > HURRY_BYTES):
            try:
                _index_in_front(self.path, self.pictures)
            except UserError:
                if was_well:
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self, image_hw: tuple[int, int]) -> None:
        import av

        # yuv420p halves the colour planes, so sizes must be even.
        h, w = (n + n % 2 for n in image_hw)
        self._size_hw = (h, w)
        self._open()
        flags = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "fflags": "+flush_packets"}
        self._container = av.open(self._file, "w", format="mp4", options=flags)
        stream = self._container.add_stream("libx264", rate=self._fps, options=self._options)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.gop_size = max(round(float(self._fps) * KEY_FRAME_EVERY_S), 1)
        # Untagged HD video is taken for BT.709; what OpenCV makes is BT.601 with video range.
        stream.codec_context.color_range, stream.codec_context.colorspace = COLOUR_RANGE, COLOUR_SPACE
        self._stream = stream

    def _open(self) -> None:
        """Make the file now, under a name that nobody else has taken meanwhile."""
        while self._file is None:
            new = os.O_TRUNC if self._overwrite else os.O_EXCL
            try:
                fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | new | os.O_CLOEXEC, 0o666)
                self._file = _WholePieces(fd)
            except FileExistsError:
                self.path = free_name(self.path)
            except OSError as error:
                raise _cannot(self.path, error) from None

    def _mux(self, frame: Any, last: bool = False) -> None:
        import av

        assert self._file is not None
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
            if last:
                self._container.close()
            self._file.piece_is_whole()
        except (OSError, av.FFmpegError) as error:
            # What was being written is the picture before, which waited to know how long it is shown.
            self._file.failed = True
            self.pictures = max(self.pictures - 1, 0)
            kept = f"the {self.pictures} pictures before that are kept and play" if self.pictures else "nothing is kept"
            raise UserError(
                f"{readable_name(self.path)}: cannot be written any more ({error.strerror}); {kept}"
            ) from None

class _WholePieces:
    """A file for FFmpeg that holds whole pieces only: what does not fit is taken back."""

    def __init__(self, fd: int) -> None:
        self._fd, self._waiting, self.failed = fd, [b""], False
        self.whole_bytes = 0

    def write(self, data: bytes) -> int:
        """Take some bytes; they reach the disk with `piece_is_whole`."""
        if not self.failed:
            self._waiting.append(bytes(data))
        return len(data)

    def piece_is_whole(self) -> None:
        """Write what was taken.

        Raises:
            OSError: it does not fit; the file ends before it.
        """
        data, self._waiting = b"".join(self._waiting), []
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            self.failed = True
            os.ftruncate(self._fd, self.whole_bytes)
            raise
        self.whole_bytes += done

    def close_file(self) -> None:
        """Close it, once FFmpeg has."""
        os.close(self._fd)


def _cannot(path: str | Path, error: OSError) -> UserError:
    return UserError(f"{readable_name(path)}: cannot be written ({error.strerror}); give another path")


def _full(path: Path, pictures: int, error: Any) -> UserError:
    return UserError(
        f"{readable_name(path)}: could not be given its index ({error.strerror}); all {pictures} pictures are in it, "
        "it plays, but some players cannot seek in it"
    )


def _fit_even(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    (h, w), (to_h, to_w) = image.shape[:2], size_hw
    if (h, w) == (to_h, to_w):
        return np.ascontiguousarray(image)
    if to_h - h in (0, 1) and to_w - w in (0, 1):
        return cv2.copyMakeBorder(image, 0, to_h - h, 0, to_w - w, cv2.BORDER_REPLICATE)
    scale = min(to_h / h, to_w / w)
    new_h, new_w = max(round(h * scale), 1), max(round(w * scale), 1)
    small = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (to_h - new_h) // 2, (to_w - new_w) // 2
    return cv2.copyMakeBorder(
        small, top, to_h - new_h - top, left, to_w - new_w - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )


def _index_in_front(path: Path, pictures: int) -> None:
    """Rewrite a fragmented file as an ordinary one, or leave it as it is.

    Raises:
        UserError: it was left, because the disk is full or the like.
    """
    import av

    # Of one length, whatever the film's name is; the same at the next try, so that nothing piles up.
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    rewritten = path.with_name(f".{name}.part")
    try:
        with av.open(f"file:{path}") as source, av.open(
            f"file:{rewritten}", "w", format="mp4", options={"movflags": "faststart"}
        ) as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            copied = 0
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
                    copied += 1
        if copied != pictures:
            raise OSError(0, f"{copied} of {pictures} pictures were read back")
        os.chmod(rewritten, os.stat(path).st_mode & 0o7777)
        os.replace(rewritten, path)
    except (OSError, av.FFmpegError) as error:
        rewritten.unlink(missing_ok=True)
        raise _full(path, pictures, error) from None
