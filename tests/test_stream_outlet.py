"""Where live pictures and answers wait: nothing is lost that must not be, and whoever waits is woken."""

import threading
import time

import numpy as np
import pytest
from stream_fakes import Clock

from detector.types import Frame
from stream.delay import DelayLine
from stream.handoff import Closed
from stream.outlet import Outlet

BOUND_S, LONG_S = 20, 600.0


def frame(index, captured_s=0.0):
    return Frame(np.zeros((4, 4, 3), np.uint8), index, index / 10, captured_s)


def outlet(capacity=2, **more):
    return Outlet(Clock(), capacity=capacity, **more)


def test_answers_outlive_the_pictures_that_are_dropped():
    out = outlet()
    for i in range(5):
        out.put_frame(frame(i))
        out.put_result(f"answer {i}")
    first, results, dropped = out.take(LONG_S)
    assert (first.index, results, dropped) == (3, tuple(f"answer {i}" for i in range(5)), 3)
    second, results, dropped = out.take(LONG_S)
    assert (second.index, results, dropped) == (4, (), 0)


def test_without_a_picture_answers_come_after_the_wait_and_then_nothing():
    out = outlet()
    out.put_result("answer")
    assert out.take(0.0) == (None, ("answer",), 0)
    assert out.take(0.0) == (None, (), 0)


def test_where_no_pictures_are_wanted_answers_come_at_once():
    out = outlet(capacity=0)
    out.put_result("answer")
    assert out.take(LONG_S) == (None, ("answer",), 0)


def test_a_closed_outlet_gives_what_is_left_and_ends():
    out = outlet()
    out.put_frame(frame(0))
    out.put_result("a")
    out.close()
    with pytest.raises(Closed):
        out.put_frame(frame(1))
    out.put_result("b")  # of an engine that was still busy
    assert out.take(LONG_S)[1] == ("a", "b")
    out.put_result("c")
    assert out.take(LONG_S) == (None, ("c",), 0)
    with pytest.raises(Closed):
        out.take(LONG_S)


def test_discarding_leaves_nothing():
    out = outlet()
    out.put_frame(frame(0))
    out.put_result("a")
    out.close(discard=True)
    with pytest.raises(Closed):
        out.take(LONG_S)


def test_the_first_error_is_raised():
    out = outlet()
    out.put_frame(frame(0))
    out.close(OSError("first"))
    out.close(OSError("second"))
    with pytest.raises(OSError, match="first"):
        out.take(LONG_S)


@pytest.mark.parametrize("event", ["picture", "answer", "end", "error"])
def test_whoever_waits_is_woken(event):
    # The clock stands still: without being woken it would wait for ten minutes.
    out = outlet(capacity=0 if event == "answer" else 2)
    got = []

    def wait():
        try:
            got.append(out.take(LONG_S))
        except (Closed, OSError) as error:
            got.append(type(error).__name__)

    reader = threading.Thread(target=wait, daemon=True)
    reader.start()
    while not out._changed._waiters and reader.is_alive():
        threading.Event().wait(0.001)
    {"picture": lambda: out.put_frame(frame(7)), "answer": lambda: out.put_result("a"), "end": out.close,
     "error": lambda: out.close(OSError("x"))}[event]()
    reader.join(BOUND_S)
    assert not reader.is_alive()
    expected = {"answer": (None, ("a",), 0), "end": "Closed", "error": "OSError"}
    assert got[0][0].index == 7 if event == "picture" else got == [expected[event]]


def test_whoever_waits_for_a_delayed_picture_gets_it_when_it_is_due():
    out = Outlet(time.monotonic, capacity=None, delay_s=lambda: 0.05, line=DelayLine(2**20))
    out.put_frame(frame(3, captured_s=time.monotonic()))
    got = []
    reader = threading.Thread(target=lambda: got.append(out.take(LONG_S)), daemon=True)
    reader.start()
    reader.join(BOUND_S)
    assert got[0][0].index == 3


def test_a_delayed_picture_waits_until_it_is_due():
    clock = Clock(10.0)
    out = Outlet(clock, capacity=None, delay_s=lambda: 2.0, line=DelayLine(2**20))
    for i in range(6):
        out.put_frame(frame(i, captured_s=9.0 + i / 10))
    assert out.take(0.0) == (None, (), 0)
    clock.now_s = 11.15
    assert [out.take(0.0)[0].index for _ in range(2)] == [0, 1]
    assert out.take(0.0)[0] is None
    clock.now_s = 11.5  # the very moment of the last one
    assert [out.take(0.0)[0].index for _ in range(4)] == [2, 3, 4, 5]


def test_a_picture_comes_out_as_it_went_in():
    out, picture = outlet(), Frame(np.zeros((480, 640, 3), np.uint8), 0, 0.0)
    out.put_frame(picture)
    assert out.take(LONG_S)[0] is picture


def test_waiting_ends_by_the_clock_where_nobody_wakes_it():
    assert Outlet(time.monotonic, capacity=2).take(0.02) == (None, (), 0)
