"""OpenVINO's core: one for the whole process, which is never let go.

Its CPU plugin gives the thread that first compiles with a core a signal stack of its own, and puts the former one back
when that core goes (seen in OpenVINO 2026.4). Two cores that do not go in the reverse order of their coming, or in
another thread, leave a thread with a stack in freed memory: the next signal that it handles, a Ctrl-C, ends the
process with a segmentation fault.
"""

from __future__ import annotations

import threading
from typing import Any

_lock = threading.Lock()
_cores: list[Any] = []


def openvino_core() -> Any:
    """The process's `openvino.Core`.

    Raises:
        ImportError: openvino is missing or does not load.
    """
    with _lock:
        if not _cores:
            import openvino

            _cores.append(openvino.Core())
        return _cores[0]
