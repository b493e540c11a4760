"""What every engine can do, whatever runs it. One file per engine stands beside this one."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from detector.types import Boxes, Clip
from detector.views import View


class Engine(Protocol):
    """An action network, made fast. Loaded, run and freed in one thread.

    Attributes:
        description: as shown in the status line: `openvino bf16`.
        num_classes: A, columns of the scores.
    """

    description: str
    num_classes: int

    def run_trunk(self, frames: np.ndarray) -> Any:
        """Compute features of clips; needs no boxes.

        Args:
            frames: (B, T, h, w, 3) uint8 RGB; layout, normalisation and the slow pathway's gather are inside.

        Returns:
            Features, (B, C, h / 16, w / 16) in whatever form this engine's head takes. Buffers may be reused:
            they are good until the next call.
        """
        ...

    def run_head(self, features: Any, rois: np.ndarray) -> np.ndarray:
        """Score people.

        Args:
            features: what `run_trunk` gave.
            rois: (K, 5) float32 `(batch index, x1, y1, x2, y2)` in pixels of the frames; K = 0 is ordinary.

        Returns:
            (K, A) float32 scores, a copy to keep.
        """
        ...

    def close(self) -> None:
        """Free what it holds. May be called twice."""
        ...


def prepare(engine: Engine, view: View, clip: Clip, boxes: Boxes) -> tuple[Any, np.ndarray]:
    """Show a clip and its people to an engine: frames for its `run_trunk`, and ROI rows.

    Engines on a GPU may do it there, with a `prepare` of their own; for the others `view.prepare` does it.
    """
    own = getattr(engine, "prepare", None)
    return view.prepare(clip, boxes) if own is None else own(view, clip, boxes)
