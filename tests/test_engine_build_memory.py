"""Memory that is freed goes back to the system (glibc); in a process of its own, whose heap nobody else has touched."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
import numpy as np
from engine_build.memory import give_back_freed_memory, give_large_blocks_back_at_once

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

def watch(kept):
    # A stream's way: large buffers come and go while small things stay.
    clip = np.ones((11 << 20,), np.uint8)
    for _ in range(20):
        frame = np.ones((3 << 20,), np.uint8)
        kept.append(bytearray(20_000))
        clip, frame = np.ones((11 << 20,), np.uint8), None

if sys.argv[1] == "steady":
    give_large_blocks_back_at_once()
np.ones((30 << 20,), np.uint8)  # glibc sees a large block freed
before, kept = resident(), []
for _ in range(6):
    threads = [threading.Thread(target=watch, args=(kept,)) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
print(resident() - before - sum(map(len, kept)) / 1e6)
many = [bytes(5000) for _ in range(20_000)] + [bytes(8)]
many = many[-1:]
full = resident()
give_back_freed_memory()
print(full - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switches are glibc's")
def test_large_blocks_leave_nothing_behind_and_freed_memory_can_be_handed_back():
    left, returned = {}, {}
    for how in ("as it is", "steady"):
        out = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout
        left[how], returned[how] = map(float, out.split())
    assert left["steady"] < 5 < left["as it is"], left
    assert returned["as it is"] > 5
