"""A window on the desktop, if there is one."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np

QUIT_KEYS = {ord("q"), ord("Q"), 27}
# OpenCV's window library ends the whole process when it cannot reach the display, so a process of its own tries.
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"


def display_available(timeout_s: float = 20.0) -> bool:
    """Whether a window can be opened here."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


class Window:
    """A window that shows pictures; used from the main thread only."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._opened = False

    def show(self, image: np.ndarray) -> bool:
        """Show a (H, W, 3) uint8 BGR picture; False once the person wants to quit (q, Esc, or the window closed)."""
        if not self._opened:
            # Qt complains at length about fonts that no label here uses.
            os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, image.shape[1], image.shape[0])
        cv2.imshow(self._title, image)
        # Without waitKey nothing is ever painted.
        key = cv2.waitKey(1) & 0xFF
        visible = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1 or not self._opened
        self._opened = True
        return key not in QUIT_KEYS and visible

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._opened:
            self._opened = False
            cv2.destroyAllWindows()
            cv2.waitKey(1)
