"""Clips to verify and calibrate on: read from a video file, or drawn where there is none.

Engines are compared with torch on what they will really see, so a clip goes through the model's own view
(`detector.views`), with people-sized boxes at fixed places: nobody needs to be detected to compare two engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from detector.data import decode
from detector.errors import UserError
from detector.types import Boxes, Clip, Frame
from detector.views import FrameView, TubeView
from detector.weights.records import ActionModel

# Boxes as fractions of width and height (x1, y1, x2, y2): two standing people, one close, one far away.
PLACES = np.array(
    [[0.10, 0.20, 0.35, 0.95], [0.55, 0.25, 0.75, 0.85], [0.25, 0.05, 0.80, 1.00], [0.44, 0.40, 0.52, 0.65]], np.float32
)


def engine_input(model: ActionModel, clip: Clip, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Show a clip to a model as the stream would, with boxes at `PLACES`.

    Args:
        model: says what its view is.
        clip: T frames.
        size_hw: height and width of the engine's frames, in pixels.

    Returns:
        frames (B, T, h, w, 3) uint8 RGB and ROI rows (K, 5) float32; B is 1 for whole frames, K for tubes.

    Raises:
        ValueError: the clip's frames have another size than the engine's.
    """
    h, w = clip.key_frame.size_hw
    boxes = Boxes(PLACES * np.array([w, h, w, h], np.float32), np.ones(len(PLACES), np.float32))
    frames, rois = model.view.prepare(clip, boxes)
    if frames.shape[2:4] != tuple(size_hw):
        raise ValueError(f"clip: got frames of {frames.shape[2:4]}, expected {tuple(size_hw)} (h, w)")
    return frames, rois


def usual_size(model: ActionModel) -> tuple[int, int]:
    """Height and width in pixels of what an engine sees: a tube, or 16:9 frames of the model's short side."""
    if isinstance(model.view, TubeView):
        return model.view.size_px, model.view.size_px
    return model.view.short_side_px, model.view.short_side_px * 16 // 9


def fit_clip(model: ActionModel, clip: Clip, size_hw: tuple[int, int]) -> Clip:
    """The same clip with frames of the size that the engine wants (whole-frame models; tubes are cut from any size)."""
    if not isinstance(model.view, FrameView) or clip.size_hw == tuple(size_hw):
        return clip
    return Clip(_resized(clip.images, size_hw), clip.key_frame, clip.key_index)


def read_clips(source: str | Path, model: ActionModel, size_hw: tuple[int, int], count: int) -> list[Clip]:
    """Read clips spread evenly over a video file.

    Args:
        source: a video file.
        model: its sampling says which moments a clip shows.
        size_hw: of the engine's frames; whole-frame clips are resized to it.
        count: clips wanted; fewer come from a video too short for so many different ones.

    Raises:
        UserError: the file is missing or no video, or holds less than one clip.
    """
    path = Path(source)
    if not path.is_file():
        raise UserError(f"--calibrate: got {path}, which is no file; expected a video file")
    with _opened(path) as video:
        fps = video.fps if video.fps is not None and 1 <= video.fps <= 240 else model.sampling.fps
        total = sum(1 for _ in video.pictures())
    offsets = np.round(model.sampling.offsets_s * fps).astype(int)
    offsets -= offsets[0]
    last_start = total - 1 - offsets[-1]
    if total == 0 or last_start < 0:
        raise UserError(
            f"--calibrate: {path} has {total} readable frames, expected a video of at least {offsets[-1] + 1} "
            f"({(offsets[-1] + 1) / fps:.1f} s)"
        )
    starts = sorted(set(np.linspace(0, last_start, count).astype(int).tolist()))
    return _gather(path, starts, offsets, model, size_hw, fps)


def drawn_clips(model: ActionModel, size_hw: tuple[int, int], count: int = 2, seed: int = 0) -> list[Clip]:
    """Draw clips with the statistics that matter to a convolution: smooth ground, edges, noise, things that move.

    They stand in where no video was given; a person should be told.
    """
    rng = np.random.default_rng(seed)
    short = model.view.short_side_px
    h, w = size_hw if isinstance(model.view, FrameView) else (short, short * 4 // 3)
    t = model.sampling.num_frames
    clips = []
    for _ in range(count):
        coarse = rng.integers(20, 235, (6, 8, 3), dtype=np.uint8)
        ground = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
        images = np.empty((t, h, w, 3), np.uint8)
        steps_px = w / 60
        things = [(rng.uniform(0, [w, h]), rng.normal(0, steps_px, 2), rng.integers(0, 256, 3)) for _ in range(6)]
        for i in range(t):
            picture = ground.copy()
            for place, step, colour in things:
                x, y = (place + i * step).astype(int).tolist()
                bright = tuple(int(c) for c in colour)
                cv2.ellipse(picture, (x, y), (max(w // 20, 2), max(h // 6, 2)), 0, 0, 360, bright, -1)
            noise = rng.normal(0, 4, picture.shape)
            images[i] = np.clip(picture + noise, 0, 255)
        key = model.sampling.key_index
        clips.append(Clip(images, Frame(np.ascontiguousarray(images[key][..., ::-1]), key, 0.0), key))
    return clips


def drawn_picture(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """One drawn BGR picture, (h, w, 3) uint8."""
    rng = np.random.default_rng(seed)
    h, w = size_hw
    picture = cv2.resize(rng.integers(20, 235, (6, 8, 3), dtype=np.uint8), (w, h), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        x, y = (rng.uniform(0, [w, h])).astype(int).tolist()
        bright = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.ellipse(picture, (x, y), (max(w // 20, 2), max(h // 6, 2)), 0, 0, 360, bright, -1)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def _opened(path: Path) -> decode.Video:
    try:
        return decode.open_video(path)
    except decode.VideoError as error:
        raise UserError(f"--calibrate: {path} has 0 readable frames ({error}), expected a video file") from None


def _gather(
    path: Path, starts: Sequence[int], offsets: np.ndarray, model: ActionModel, size_hw: tuple[int, int], fps: float
) -> list[Clip]:
    wanted = sorted({start + int(o) for start in starts for o in offsets})
    whole = isinstance(model.view, FrameView)
    small: dict[int, np.ndarray] = {}
    key_frames: dict[int, Frame] = {}
    keys = {start + int(offsets[model.sampling.key_index]) for start in starts}
    with _opened(path) as video:
        for index, picture in enumerate(video.pictures()):
            if index > wanted[-1]:
                break
            if index in wanted:
                bgr = picture.bgr()
                target_hw = size_hw if whole else _short_side(bgr.shape[:2], model.view.short_side_px)
                small[index] = np.ascontiguousarray(_resized(bgr[None], target_hw)[0][..., ::-1])
                if index in keys:
                    key_frames[index] = Frame(bgr, index, index / fps)
    clips = []
    for start in starts:
        images = np.stack([small[start + int(o)] for o in offsets])
        clips.append(Clip(images, key_frames[start + int(offsets[model.sampling.key_index])], model.sampling.key_index))
    return clips


def _short_side(size_hw: tuple[int, int], short_px: int) -> tuple[int, int]:
    h, w = size_hw
    return (short_px, w * short_px // h) if h <= w else (h * short_px // w, short_px)


def _resized(images: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return np.stack([cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR) for image in images])
