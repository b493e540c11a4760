"""One live stream watched for one visitor: a thread that takes what the pipeline gives and keeps the newest picture.

Nothing here knows of WebSockets or of Gradio. A picture is encoded only when somebody is ready for one, so
a slow connection costs pictures and never builds a backlog.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from demo.choices import Choices
from demo.colours import styles_of
from demo.pool import Lease
from detector.errors import UserError
from stream.picture.overlay import draw_watermark
from stream.pipeline import Options, Pipeline
from stream.results import Update
from stream.sources import Source

log = logging.getLogger(__name__)

# JPEG quality by the seconds that pictures lately took from here to being shown: on a thin line it is better to see
# something now than to see it well.
QUALITIES = ((0.15, 80), (0.3, 60), (float("inf"), 40))
# Pictures sent and not yet shown; two keep the line busy while one is being drawn.
MAX_UNSHOWN = 3
MAX_PICTURE_PX = 1280
# A baseline JPEG has at most four, a progressive one about ten.
MAX_SCANS = 32


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """An annotated picture on its way to the page.

    Attributes:
        time_s: media time of the frame.
        jpeg: the picture, without boxes: the page draws them, in letters that can be read on a phone.
        people: who is in it, as `describe_people` says.
    """

    time_s: float
    jpeg: bytes
    people: list[dict[str, Any]] = field(default_factory=list)


class Viewing:
    """Runs a pipeline until its source ends, it fails or it is closed."""

    def __init__(
        self, source: Source, lease: Lease, choices: Choices, *, wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start watching.

        Args:
            source: taken over.
            lease: of the model; taken over, released at the end.
            choices: the visitor's; `display` is fixed for this viewing.
            wake: called from the thread when there is a picture to take or the viewing has ended.
            clock: seconds, monotonic.
        """
        self._lease, self._wake, self._clock = lease, wake, clock
        self._lock = threading.Lock()
        self._picture: Picture | None = None
        self._sent_s: deque[float] = deque()
        self._way_s = 0.0
        self._people: list[dict[str, Any]] = []
        self._error: str | None = None
        self.source_name = source.name
        self.display = choices.display
        self._done = threading.Event()
        self._begun = False
        try:
            self.choose(choices)
            options = Options(display=choices.display, thresholds=self._thresholds)
            self._pipeline = Pipeline(source, lease.session, options)
            self._begun = True
        except BaseException:
            source.close()
            lease.release()
            raise
        self._thread = threading.Thread(target=self._run, name="viewing", daemon=True)
        self._thread.start()

    def choose(self, choices: Choices) -> None:
        """Change thresholds and actions from the next picture on.

        Raises:
            UserError: an action that the model does not know.
        """
        self._thresholds = choices.thresholds(self._lease.session.model)
        self._choices = choices
        if self._begun:
            self._pipeline.set_thresholds(self._thresholds)
        self._lease.set_person_threshold(choices.person_threshold)

    @property
    def styles(self) -> dict[str, list[Any]]:
        """How each action is shown, see `demo.colours`."""
        session = self._lease.session
        return styles_of(session.model.labels, () if session.untrained else session.model.works_on_real_video)

    @property
    def ended(self) -> bool:
        """The stream is over and its threads are gone."""
        return self._done.is_set()

    @property
    def error(self) -> str | None:
        """Why it ended, for the visitor; None when it simply did."""
        return self._error

    def take(self) -> Picture | None:
        """The newest picture that was not taken yet, or None."""
        with self._lock:
            picture, self._picture = self._picture, None
            if picture is not None:
                self._sent_s.append(self._clock())
            return picture

    def shown(self) -> None:
        """The visitor's page has shown one of the pictures taken."""
        with self._lock:
            if self._sent_s:
                self._way_s += 0.2 * (self._clock() - self._sent_s.popleft() - self._way_s)

    def status(self) -> dict[str, Any]:
        """What the status line says, for JSON; no credentials."""
        status, session = self._pipeline.status, self._lease.session
        return {
            "source": self.source_name, "online": status.online, "message": status.message,
            "camera_fps": round(status.camera_fps, 1), "shown_fps": round(status.shown_fps, 1),
            "clips_per_s": round(status.clips_per_s, 2), "detections_per_s": round(status.detections_per_s, 1),
            "look_ahead_s": round(status.look_ahead_s, 2), "compute_s": round(status.compute_s, 2),
            "engine": status.engine, "detector": status.detector, "display": self.display,
            "drops": {"frames": status.drops.frames, "clips": status.drops.clips},
            "model": session.model.name, "untrained": session.untrained, "people": self._people,
        }

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop and free everything; True if the threads ended in time. May be called twice, from any other thread."""
        self._pipeline.close(timeout_s)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._pipeline:
                for update in self._pipeline:
                    self._draw(update)
        except UserError as error:
            self._error = str(error)
        except Exception:
            # The visitor must not be shown internals; the operator must be.
            log.exception("a viewing failed")
            self._error = "the server ran into an error while analysing; its log says more"
        finally:
            self._lease.release()
            self._done.set()
            self._wake()

    def _draw(self, update: Update) -> None:
        frame = update.frame
        if frame is None:
            return
        update = self._choices.keep_people(update)
        self._people = describe_people(update, self._thresholds)
        with self._lock:
            if len(self._sent_s) >= MAX_UNSHOWN or self._picture is not None:
                return
        image = draw_watermark(frame.image) if update.untrained else frame.image
        quality = next(quality for limit_s, quality in QUALITIES if self._way_s < limit_s)
        picture = Picture(frame.time_s, encode_jpeg(image, quality), self._people)
        with self._lock:
            self._picture = picture
        self._wake()


def describe_people(update: Update, thresholds: np.ndarray) -> list[dict[str, Any]]:
    """Who is in the picture, where, and what they do, best first, for the page; boxes in shares of the picture."""
    labels = update.model.labels
    assert update.frame is not None
    h, w = update.frame.size_hw
    boxes = np.clip(update.boxes.xyxy / np.array([w, h, w, h], np.float32), 0, 1).round(4).tolist()
    people = []
    rows = zip(update.boxes.track_id.tolist(), boxes, update.scores, strict=True)
    for i, (track_id, box, scores) in enumerate(rows):
        actions = [[labels[j].short_name, round(float(scores[j]), 2)] for j in update.shown(i, thresholds)]
        people.append({
            "id": track_id, "box": [round(v, 4) for v in box], "waiting": bool(np.isnan(scores).all()),
            "coasting": bool(update.boxes.coasting[i]),
            "actions": actions[:5],
        })
    return people


def encode_jpeg(image: np.ndarray, quality: int = 80) -> bytes:
    """JPEG of a (H, W, 3) uint8 BGR picture, made smaller where its long side is over `MAX_PICTURE_PX`."""
    long_px = max(image.shape[:2])
    if long_px > MAX_PICTURE_PX:
        scale = MAX_PICTURE_PX / long_px
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError(f"cannot encode a picture of {image.shape}")
    return data.tobytes()


def decode_jpeg(data: bytes, max_px: int = 1920) -> np.ndarray:
    """Picture of a JPEG that a stranger sent, (H, W, 3) uint8 BGR.

    Raises:
        UserError: not a JPEG, damaged, a side over `max_px` (read from its header, before memory is taken), or of more
            passes than any camera makes: each costs as much as the whole picture, and in a few bytes.
    """
    size_hw = jpeg_size(data)
    if size_hw is None:
        raise UserError("picture: not a JPEG")
    if max(size_hw) > max_px:
        raise UserError(f"picture: got {size_hw[1]}x{size_hw[0]}, expected at most {max_px} a side")
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise UserError(f"picture: a JPEG of more than {MAX_SCANS} passes")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError("picture: a damaged JPEG")
    return image


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in a JPEG's first frame header (ITU T.81, B.2.2), or None where there is none."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        # These have no length behind them and no place here; a decoder would go on reading elsewhere than we do.
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xDA:
            return None
        # C0..CF are frame headers, except C4 (Huffman tables), C8 (reserved) and CC (arithmetic coding).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5:at + 7]), int.from_bytes(data[at + 7:at + 9])
        length = int.from_bytes(data[at + 2:at + 4])
        if length < 2:
            return None
        at += 2 + length
    return None
