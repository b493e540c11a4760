"""People in the form of the `supervision` package, for its trackers, annotators and zones. The one door to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.types import Boxes

if TYPE_CHECKING:
    import supervision


def supervision_detections(boxes: Boxes, class_id: np.ndarray, **more: Any) -> supervision.Detections:
    """Give N people and their (N,) class ids as `supervision.Detections`; `more` as of its constructor."""
    import supervision

    return supervision.Detections(xyxy=boxes.xyxy, confidence=boxes.score, class_id=class_id, **more)
