"""The data on its way through: frames, clips, boxes, detections.

Everything here is numpy; importing this module must not import torch. Arrays are shared, not copied:
treat them as read-only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


def _expect(condition: bool, name: str, got: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name}: got {got}, expected {expected}")


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One picture of a source at full size.

    Attributes:
        image: (H, W, 3) uint8, BGR as OpenCV gives it; read-only.
        index: frames seen so far by the source before this one, dropped ones included.
        time_s: media time in seconds; starts near 0 and never decreases within a source.
        captured_s: monotonic clock when the frame was decoded, for latency only.
        segment: another number than the frame before has: its time stamps broke, and it may show another scene.
    """

    image: np.ndarray
    index: int
    time_s: float
    captured_s: float = 0.0
    segment: int = 0

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        _expect(len(shape) == 3 and shape[2] == 3, "Frame.image", shape, "(H, W, 3)")
        _expect(dtype == np.uint8, "Frame.image", dtype, "uint8")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def __repr__(self) -> str:
        h, w = self.size_hw
        return f"Frame(#{self.index} at {self.time_s:.3f} s, {w}x{h})"


@dataclass(frozen=True, eq=False, slots=True)
class Origin:
    """Which pictures a clip is made of, so that a GPU keeps those it has seen.

    Attributes:
        memory: any object that stands for what the pictures were taken from; lives as long as that does.
        serials: T numbers; a number stands for the same picture as long as `memory` lives, and later ones are higher.
    """

    memory: object
    serials: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Clip:
    """Frames that an action network sees at once, and the key frame that they are about.

    Attributes:
        images: (T, h, w, 3) uint8 **RGB**, resized, oldest first, evenly spaced in media time.
        key_frame: the full-size frame that boxes refer to.
        key_index: position in `images` of the frame nearest to the key frame.
        origin: which pictures these are; None where nobody would see them twice.
        filled: share of the images that repeat the first or the last one, because the video does not reach as far.
    """

    images: np.ndarray
    key_frame: Frame
    key_index: int
    origin: Origin | None = None
    filled: float = 0.0

    def __post_init__(self) -> None:
        shape, dtype = self.images.shape, self.images.dtype
        _expect(len(shape) == 4 and shape[3] == 3, "Clip.images", shape, "(T, h, w, 3)")
        _expect(dtype == np.uint8, "Clip.images", dtype, "uint8")
        _expect(0 <= self.key_index < shape[0], "Clip.key_index", self.key_index, f"0..{shape[0] - 1}")
        serials = shape[0] if self.origin is None else len(self.origin.serials)
        _expect(serials == shape[0], "Clip.origin", f"{serials} serials", f"{shape[0]}, one a picture")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the resized frames, in pixels."""
        return self.images.shape[1], self.images.shape[2]

    def __repr__(self) -> str:
        t, h, w, _ = self.images.shape
        return f"Clip({t} frames of {w}x{h}, key {self.key_frame!r})"


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (M, 4), corners in one order in both: (N, M); 0 for empty ones."""
    side = (np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])).clip(0)
    shared = side.prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """People in one picture; N = 0 is an ordinary case.

    Attributes:
        xyxy: (N, 4) float32 corners (x1, y1, x2, y2), pixels of the full-size picture.
        score: (N,) float32, the detector's confidence, 0 to 1.
        track_id: (N,) int64, -1 where the person has no track (yet).
        coasting: (N,) bool, the newest look did not see the person, who is carried on for a moment; no one by default.
    """

    xyxy: np.ndarray
    score: np.ndarray
    track_id: np.ndarray = None  # type: ignore[assignment]
    coasting: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        xyxy = np.asarray(self.xyxy, np.float32)
        _expect(xyxy.size % 4 == 0, "Boxes.xyxy", xyxy.shape, "(N, 4)")
        object.__setattr__(self, "xyxy", xyxy.reshape(-1, 4))
        object.__setattr__(self, "score", np.asarray(self.score, np.float32).reshape(-1))
        ids = np.full(len(self.xyxy), -1) if self.track_id is None else self.track_id
        object.__setattr__(self, "track_id", np.asarray(ids, np.int64).reshape(-1))
        n = len(self.xyxy)
        _expect(len(self.score) == n, "Boxes.score", self.score.shape, f"({n},)")
        _expect(len(self.track_id) == n, "Boxes.track_id", self.track_id.shape, f"({n},)")
        coasting = np.zeros(n) if self.coasting is None else self.coasting
        object.__setattr__(self, "coasting", np.asarray(coasting, bool).reshape(-1))
        _expect(len(self.coasting) == n, "Boxes.coasting", self.coasting.shape, f"({n},)")

    @classmethod
    def empty(cls) -> Boxes:
        """No people."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> Boxes:
        """Select people by mask, slice or integer list; the type stays."""
        return Boxes(self.xyxy[index], self.score[index], self.track_id[index], self.coasting[index])

    def clip_to(self, size_hw: tuple[int, int]) -> Boxes:
        """Move corners outside a picture of that height and width onto its border."""
        h, w = size_hw
        return replace(self, xyxy=self.xyxy.clip(0, np.array([w, h, w, h], np.float32)))

    def with_tracks(self, track_id: np.ndarray) -> Boxes:
        """The same boxes with other track ids, (N,) int."""
        return replace(self, track_id=track_id)

    def __repr__(self) -> str:
        ids = ", ".join(str(i) for i in self.track_id[:6].tolist()) + (", ..." if len(self) > 6 else "")
        return f"Boxes(xyxy ({len(self)}, 4), track_id [{ids}])"


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """People and what each of them does.

    Attributes:
        boxes: the N people.
        action_scores: (N, A) float32, independent sigmoids: a row does not sum to 1.
    """

    boxes: Boxes
    action_scores: np.ndarray

    def __post_init__(self) -> None:
        scores = np.asarray(self.action_scores, np.float32)
        _expect(scores.ndim == 2, "Detections.action_scores", scores.shape, "(N, A)")
        _expect(len(scores) == len(self.boxes), "Detections.action_scores", scores.shape, f"({len(self.boxes)}, A)")
        object.__setattr__(self, "action_scores", scores)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> Detections:
        """Select people; the type stays."""
        return Detections(self.boxes[index], self.action_scores[index])

    def __repr__(self) -> str:
        n, a = self.action_scores.shape
        return f"Detections({self.boxes!r}, action_scores ({n}, {a}))"
