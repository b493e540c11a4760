"""What is drawn: boxes, labels, status, and the window that shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.doors import lazy_door

if TYPE_CHECKING:
    from stream.picture.overlay import draw_people, draw_status, draw_update, draw_watermark

__all__ = ["draw_people", "draw_status", "draw_update", "draw_watermark"]

__getattr__, __dir__ = lazy_door(__name__, {
    "draw_people": "stream.picture.overlay",
    "draw_status": "stream.picture.overlay",
    "draw_update": "stream.picture.overlay",
    "draw_watermark": "stream.picture.overlay",
})
