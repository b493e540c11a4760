"""Points, polygons and lines in shares of the picture. Pure geometry; time and memory of it are in `machines`.

supervision's `PolygonZone` and `LineZone` count frames and paint masks in pixels; answers here come at uneven times
and in shares, so the tests are exact ones on the same geometry, and the tests of this file hold them against
supervision's.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stream.events.records import Box

Point = tuple[float, float]


def foot(box: Box) -> Point:
    """Where a person stands: the middle of the box's lower edge, moved just inside the picture."""
    return min(max((box[0] + box[2]) / 2, 0.0), 1.0), min(max(box[3], 0.0), 1.0)


def height(box: Box) -> float:
    """Share of the picture's height."""
    return box[3] - box[1]


def inside(polygon: Sequence[Point], point: Point) -> bool:
    """Whether a point lies in a polygon or on its edge."""
    corners = np.asarray(polygon, np.float32).reshape(-1, 1, 2)
    return cv2.pointPolygonTest(corners, (float(point[0]), float(point[1])), False) >= 0


def side(line: Sequence[Point], point: Point, aspect: float) -> float:
    """Signed distance of a point from the endless line through two points, in heights of the picture.

    Above 0 on the right hand of somebody who looks from the first point to the second.
    """
    (ax, ay), (bx, by) = line
    dx, dy = (bx - ax) * aspect, by - ay
    length = float(np.hypot(dx, dy))
    return (dx * (point[1] - ay) - dy * (point[0] - ax) * aspect) / length if length else 0.0


def crosses(line: Sequence[Point], start: Point, end: Point) -> bool:
    """Whether the way from one point to another meets a line between its two ends."""
    first, second = side(line, start, 1.0), side(line, end, 1.0)
    if first == second or first * second > 0:
        return False
    share = first / (first - second)
    met = (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
    (ax, ay), (bx, by) = line
    along = (met[0] - ax) * (bx - ax) + (met[1] - ay) * (by - ay)
    return 0 <= along <= (bx - ax) ** 2 + (by - ay) ** 2


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0
