"""Memory that a finished job leaves behind."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back_freed_memory() -> None:
    """Hand memory that is free but still held by the C library back to the system; glibc only, else nothing happens.

    Converting and verifying a network takes several times the memory of running it, and glibc keeps most of that.
    """
    gc.collect()
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):  # another C library, musl for one
            return
