"""Finding people: one small protocol, one file per detector."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from detector.types import Boxes

__all__ = ["PersonDetector"]


class PersonDetector(Protocol):
    """Finds people in one picture.

    It may have `look_again(image, people)` too, which finds in the next picture of a video those who are thought to be
    in (N, 4) boxes, and somebody new by and by, in less time than `detect`.

    Attributes:
        name: as shown in the status line: `ssdlite (openvino)`.
        threshold: confidence over which a box is a person; may be set while running.
        notice: one line for the person at the keyboard: what this is, and which command gets a better one.
    """

    name: str
    threshold: float
    notice: str

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people.

        Args:
            image: (H, W, 3) uint8 BGR, any size.

        Returns:
            Boxes over the threshold, best first, in pixels of the picture and inside it; track ids are -1.
        """
        ...

    def fork(self) -> PersonDetector:
        """The same detector for another stream: it shares the network and remembers nothing of this stream."""
        ...

    def close(self) -> None:
        """Free what it holds. May be called twice."""
        ...
