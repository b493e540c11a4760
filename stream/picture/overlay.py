"""Drawing what is known onto a picture. Pure: every `draw_*` takes a BGR picture and returns a new one."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from detector.types import Boxes
from detector.weights.records import ActionModel
from stream.picture.placing import place_labels
from stream.picture.text import Colour, Sprite, font_px, line_height, panel, paste, slanted_mask, text_width
from stream.results import Status, Update

# Far apart in hue and lightness, readable beside each other for most colour-blind people (after Okabe and Ito), BGR.
PALETTE: tuple[Colour, ...] = (
    (0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240), (178, 114, 0), (0, 94, 213), (167, 121, 204),
    (200, 200, 60), (90, 220, 120), (150, 80, 240),
)
NO_TRACK: Colour = (190, 190, 190)
ALERT: Colour = (40, 40, 170)
# A dash and the gap behind it, over the thickness of the line.
DASH_OF_THICKNESS = 4
UNTRAINED = "UNTRAINED: RANDOM SCORES"
# What a star means; the shorter form where a picture is narrow.
UNPROVEN = ("* not proven on real video", "* unproven")


def colour_of(track_id: int) -> Colour:
    """The colour of a track; grey for people without one."""
    return PALETTE[track_id % len(PALETTE)] if track_id >= 0 else NO_TRACK


def draw_update(
    update: Update, thresholds: np.ndarray | None = None, *, actions_shown: Collection[int] | None = None,
    max_actions: int = 4, status_line: bool = True,
) -> np.ndarray:
    """Draw people, their actions, the status line and, for random weights, the watermark.

    Args:
        update: with a frame.
        thresholds: (A,) as of `stream.results.thresholds_for`; those of the stream unless given.
        actions_shown: columns that may be shown; None for all.
        max_actions: lines a person.
        status_line: draw it.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ValueError: the update has no frame.
    """
    if update.frame is None:
        raise ValueError("update.frame: got None, expected a picture; only draw updates that have one")
    image = update.frame.image.copy()
    if update.untrained:
        _paint_watermark(image, UNTRAINED)
    line = _status_sprite(image.shape[:2], update.status, update.time_s, update.model) if status_line else None
    bottom = image.shape[0] - (line.size_hw[0] if line else 0)
    _paint_people(image, update.boxes, action_lines(update, thresholds, actions_shown, max_actions), bottom)
    if line:
        paste(image, line, 0, bottom)
    if not update.status.online:
        _paint_alert(image, update.status.message)
    return image


def draw_people(image: np.ndarray, boxes: Boxes, lines: list[tuple[tuple[str, str], ...]]) -> np.ndarray:
    """Draw boxes and a panel of text beside each, inside the picture and apart from each other.

    Args:
        image: (H, W, 3) uint8 BGR.
        boxes: N people in its pixels.
        lines: N tuples of (words, figure), the first one naming the person.
    """
    drawn = image.copy()
    _paint_people(drawn, boxes, lines, image.shape[0])
    return drawn


def draw_status(image: np.ndarray, status: Status, time_s: float = 0.0) -> np.ndarray:
    """Draw the status line along the lower border, and what is wrong across the upper one."""
    drawn = image.copy()
    line = _status_sprite(image.shape[:2], status, time_s)
    if line:
        paste(drawn, line, 0, image.shape[0] - line.size_hw[0])
    if not status.online:
        _paint_alert(drawn, status.message)
    return drawn


def draw_watermark(image: np.ndarray, text: str = UNTRAINED) -> np.ndarray:
    """Draw a warning across the picture that nobody overlooks."""
    drawn = image.copy()
    _paint_watermark(drawn, text)
    return drawn


def action_lines(
    update: Update, thresholds: np.ndarray | None, actions_shown: Collection[int] | None = None, max_actions: int = 4
) -> list[tuple[tuple[str, str], ...]]:
    """The lines of text of each person: a name, then actions over their threshold, best first.

    Behind the name stands … before the first answer, and – where nothing is over its threshold.
    An action that the model's record does not claim to know on real video carries a star.
    """
    model = update.model
    lines = []
    for i, (track_id, scores) in enumerate(zip(update.boxes.track_id.tolist(), update.scores)):
        columns = [j for j in update.shown(i, thresholds) if actions_shown is None or j in actions_shown]
        silence = "" if columns else " …" if np.isnan(scores).all() else " –"
        head = ((f"#{track_id}" if track_id >= 0 else "person") + silence, "")
        lines.append((head, *(
            (model.labels[j].short_name + ("" if model.is_proven(j) else "*"), f"{scores[j]:.2f}")
            for j in columns[:max_actions]
        )))
    return lines


def status_parts(status: Status, time_s: float) -> list[str]:
    """What the status line says, most wanted first; of a file only what is the same each time it is run."""
    if not status.live:
        parts = [f"{int(time_s // 60)}:{time_s % 60:04.1f}", status.engine, status.detector]
        return [part for part in parts if part]
    parts = [f"{status.camera_fps:.0f} fps"]
    if status.compute_s:
        parts += [
            f"{status.clips_per_s:.1f} clips/s",
            f"labels {status.look_ahead_s:.1f} s look-ahead + {status.compute_s:.1f} s compute",
        ]
    elif status.message and status.online:
        parts.append(status.message)
    parts += [status.engine, f"{status.drops.frames} frames dropped"]
    return [part for part in parts if part]


def _paint_people(
    image: np.ndarray, boxes: Boxes, lines: list[tuple[tuple[str, str], ...]], bottom: int
) -> None:
    px = font_px(image.shape[:2])
    thickness = max(round(min(image.shape[:2]) / 300), 1)
    colours = [colour_of(t) for t in boxes.track_id.tolist()]
    corners = np.round(boxes.xyxy).astype(int)
    for (x1, y1, x2, y2), colour, coasting in zip(corners.tolist(), colours, boxes.coasting.tolist()):
        inside = (min(x2, image.shape[1] - 1), min(y2, image.shape[0] - 1))
        if coasting:
            _paint_dashes(image, (x1, y1), inside, colour, thickness)
            continue
        cv2.rectangle(image, (x1, y1), inside, (20, 20, 20), thickness + 2, cv2.LINE_AA)
        cv2.rectangle(image, (x1, y1), inside, colour, thickness, cv2.LINE_AA)
    sprites = [_sprites(text, px, colour) for text, colour in zip(lines, colours)]
    sizes = [[sprite.size_hw for sprite in options] for options in sprites]
    placed = place_labels(boxes.xyxy, sizes, (bottom, image.shape[1]))
    for options, place, box, colour in zip(sprites, placed, corners, colours):
        if place is None:
            continue
        if place.away:
            _paint_leader(image, box, place.x, place.y, options[place.option].size_hw, colour)
        paste(image, options[place.option], place.x, place.y)


def _paint_dashes(
    image: np.ndarray, first: tuple[int, int], last: tuple[int, int], colour: Colour, thickness: int
) -> None:
    """A box of dashes: where somebody is taken to be whom the newest look did not see."""
    (x1, y1), (x2, y2), dash = first, last, DASH_OF_THICKNESS * thickness
    for x in range(x1, x2, 2 * dash):
        for y in (y1, y2):
            cv2.line(image, (x, y), (min(x + dash, x2), y), colour, thickness)
    for y in range(y1, y2, 2 * dash):
        for x in (x1, x2):
            cv2.line(image, (x, y), (x, min(y + dash, y2)), colour, thickness)


def _sprites(lines: tuple[tuple[str, str], ...], px: int, colour: Colour) -> list[Sprite]:
    """The panel of a person, from the fullest to the shortest form; crowds get the shorter ones."""
    name, actions = lines[0], lines[1:]
    if not actions:
        return [panel((name,), px, colour)]
    merged = ((f"{name[0]}  {actions[0][0]}", actions[0][1]), *actions[1:])
    forms = [panel(merged[:count], px, colour) for count in range(len(merged), 0, -1)]
    return [*forms, panel((name,), px, colour)]


def _paint_leader(image: np.ndarray, box: np.ndarray, x: int, y: int, size_hw: tuple[int, int], colour: Colour) -> None:
    start = (int(np.clip((box[0] + box[2]) / 2, x, x + size_hw[1])), y + size_hw[0] if y < box[1] else y)
    end = (int((box[0] + box[2]) / 2), int(box[1]) if y < box[1] else int(box[3]))
    cv2.line(image, start, end, (20, 20, 20), 3, cv2.LINE_AA)
    cv2.line(image, start, end, colour, 1, cv2.LINE_AA)


def _status_sprite(
    size_hw: tuple[int, int], status: Status, time_s: float, model: ActionModel | None = None
) -> Sprite | None:
    """The status line for a picture of that size; what does not fit is left out, None where nothing does.

    What a star means stays longest.
    """
    h, w = size_hw
    px = max(font_px(size_hw) - 2, 11)
    parts = status_parts(status, time_s)
    text = note = ""
    if model is not None and model.works_on_real_video is not None:
        note = next((form for form in UNPROVEN if text_width(form, px) <= w - px), "")
    for part in parts:
        longer = f"{text}  ·  {part}" if text else part
        if text_width(f"{longer}  ·  {note}" if note else longer, px) <= w - px:
            text = longer
    text = "  ·  ".join(words for words in (text, note) if words)
    return panel(((text, ""),), px, width=w, alpha=0.65) if text and h > 3 * line_height(px) else None


def _paint_alert(image: np.ndarray, message: str) -> None:
    px = font_px(image.shape[:2]) + 2
    words, lines = message.split(), [""]
    for word in words:
        if lines[-1] and text_width(f"{lines[-1]} {word}", px) > image.shape[1] - 2 * px:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    rows = tuple((line, "") for line in lines)
    paste(image, panel(rows, px, background=ALERT, alpha=0.9, width=image.shape[1]), 0, 0)


def _paint_watermark(image: np.ndarray, text: str) -> None:
    mask = slanted_mask(text, image.shape[:2])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    part = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    region, ink = image[part], np.ascontiguousarray(mask[part])
    # White letters with a dark rim show on light and on dark pictures.
    rim = cv2.dilate(ink, np.ones((5, 5), np.uint8))
    for layer, strength, colour in ((rim, 0.35, 0), (ink, 0.55, 255)):
        flat = np.full_like(region, colour)
        blended = cv2.addWeighted(region, 1 - strength, flat, strength, 0)
        cv2.copyTo(blended, layer, region)
