"""What is kept: films, JSON lines, AVA's CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.doors import lazy_door

if TYPE_CHECKING:
    from stream.outputs.ava_csv import AvaCsv
    from stream.outputs.film import Mp4Writer
    from stream.outputs.json_lines import JsonLines

__all__ = ["AvaCsv", "JsonLines", "Mp4Writer"]

__getattr__, __dir__ = lazy_door(__name__, {
    "AvaCsv": "stream.outputs.ava_csv",
    "JsonLines": "stream.outputs.json_lines",
    "Mp4Writer": "stream.outputs.film",
})
