"""Text as small pictures, rendered once and kept. Pillow brings the font, so every machine draws the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
PANEL: Colour = (24, 20, 18)
PANEL_ALPHA = 0.78


@dataclass(frozen=True, eq=False, slots=True)
class Sprite:
    """A small picture with transparency: (h, w, 3) uint8 BGR times alpha, and (h, w, 1) uint16 of 256 - alpha."""

    premultiplied: np.ndarray
    rest: np.ndarray

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.premultiplied.shape[0], self.premultiplied.shape[1]


def font_px(size_hw: tuple[int, int]) -> int:
    """Height of letters that suits a picture: a fortieth of its short side, but readable and not huge."""
    return int(np.clip(round(min(size_hw) / 40), 12, 40))


@lru_cache(maxsize=8)
def _font(px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(px)


@lru_cache(maxsize=4096)
def text_width(text: str, px: int) -> int:
    """Pixels that a line of text takes."""
    return int(np.ceil(_font(px).getlength(text)))


def line_height(px: int) -> int:
    """Pixels from one line of text to the next."""
    return round(px * 1.35)


@lru_cache(maxsize=512)
def panel(
    lines: tuple[tuple[str, str], ...], px: int, accent: Colour | None = None, background: Colour = PANEL,
    alpha: float = PANEL_ALPHA, width: int | None = None,
) -> Sprite:
    """A dark panel with lines of text, each with words on the left and a figure on the right.

    Args:
        lines: (left, right) of each line; right may be "".
        px: height of the letters.
        accent: colour of a bar along the left edge; None for no bar.
        background: of the panel.
        alpha: how much the panel covers what is behind it.
        width: of the panel; as wide as its text unless given.
    """
    pad, bar = max(px // 3, 3), (max(px // 5, 2) if accent else 0)
    gap = px // 2
    inner = max(text_width(left, px) + (gap + text_width(right, px) if right else 0) for left, right in lines)
    w = width or bar + 2 * pad + inner
    h = line_height(px) * len(lines) + max(px // 4, 2)
    mask = Image.new("L", (w, h), 0)
    draw = ImageDraw.Draw(mask)
    for i, (left, right) in enumerate(lines):
        y = max(px // 8, 1) + i * line_height(px) + line_height(px) / 2
        draw.text((bar + pad, y), left, fill=255, font=_font(px), anchor="lm")
        if right:
            draw.text((w - pad, y), right, fill=255, font=_font(px), anchor="rm")
    ink = np.asarray(mask, np.float32)[..., None] / 255
    opacity = np.maximum(ink, np.float32(alpha))
    # Letters lie on the panel, the panel on the picture.
    colour = np.asarray(WHITE, np.float32) * ink + np.asarray(background, np.float32) * (opacity - ink)
    if accent is not None:
        colour[:, :bar], opacity[:, :bar] = accent, 1
    return Sprite(colour.astype(np.uint8), np.round((1 - opacity) * 256).astype(np.uint16))


def paste(image: np.ndarray, sprite: Sprite, x: int, y: int) -> None:
    """Put a sprite onto a BGR picture in place, its upper left corner at (x, y); what sticks out is cut off."""
    h, w = sprite.size_hw
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + h, image.shape[0]), min(x + w, image.shape[1])
    if top >= bottom or left >= right:
        return
    region = image[top:bottom, left:right]
    part = np.s_[top - y:bottom - y, left - x:right - x]
    region[:] = sprite.premultiplied[part] + ((region * sprite.rest[part]) >> 8).astype(np.uint8)


@lru_cache(maxsize=4)
def slanted_mask(text: str, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8 mask of one line of text written across a picture, rising to the right."""
    h, w = size_hw
    px = max(int(0.8 * w / max(text_width(text, 100) / 100, 1)), 10)
    mask = Image.new("L", (w, h), 0)
    ImageDraw.Draw(mask).text((w / 2, h / 2), text, fill=255, font=_font(min(px, 200)), anchor="mm")
    angle = min(float(np.degrees(np.arctan2(h, w))) * 0.6, 25.0)
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1.0)
    return cv2.warpAffine(np.asarray(mask), turn, (w, h))
