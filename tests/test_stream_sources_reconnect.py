"""Cameras on a cable that the test makes: what a frame carries, what is waited for, when it is tried again."""

import threading
from itertools import islice

import numpy as np
import pytest
from stream_fakes import Clock

from detector.errors import UserError
from stream.sources.decode import ConnectionLost
from stream.sources.reconnect import Backoff, LiveCamera

BOUND_S = 20


class Cable:
    """A connection: (seconds until it comes, time stamp) of each picture; then it is pulled out."""

    def __init__(self, clock, pictures, fps=10.0, **says):
        self.clock, self.pictures, self.fps, self.closed = clock, pictures, fps, False
        vars(self).update(says)

    def __iter__(self):
        for number, (after_s, stamp_s) in enumerate(self.pictures):
            self.clock.now_s += after_s
            yield np.full((4, 4, 3), number % 250, np.uint8), stamp_s
        raise ConnectionLost("cable: pulled out")

    def close(self):
        self.closed = True


def plugged(clock, *connections, wait=None, **more):
    """A camera that gets these connections, one after the other."""
    left = iter(connections)

    def connect():
        connection = next(left, None)
        if connection is None:
            raise UserError("cable: not there")
        return connection

    return LiveCamera("cable", connect, clock=clock, wait=wait, **more)


def no_wait(event, seconds):
    return event.is_set()


def test_a_frame_carries_when_it_was_taken_and_which_scene_it_is_of():
    clock = Clock(50.0)
    camera = plugged(clock, Cable(clock, [(0.5, 7.0), (0.1, 7.1), (0.1, 3.0)], paced=True), wait=no_wait)
    frames = list(islice(camera, 3))
    assert [(f.index, f.captured_s, f.segment) for f in frames] == [
        (0, 50.5, 0), (1, pytest.approx(50.6), 0), (2, pytest.approx(50.7), 1),
    ]


def test_a_paced_stream_without_stamps_keeps_the_rate_that_it_names():
    clock = Clock()
    camera = plugged(clock, Cable(clock, [(0.0, None)] * 4, fps=5.0, paced=True), wait=no_wait)
    assert np.diff([f.time_s for f in islice(camera, 4)]) == pytest.approx([0.2] * 3)


def test_an_early_picture_is_waited_for_until_the_camera_is_closed():
    clock, given = Clock(), []
    camera = plugged(clock, Cable(clock, [(0.0, 0.0), (0.0, 1.9)], paced=True), backoff=Backoff(first_s=0.001))
    # The clock stands still and the second picture is due in 1.9 s of it.
    waited = threading.Event()
    ask = camera._wait
    camera._wait = lambda event, seconds: seconds > 1 and (waited.set() or ask(event, 600.0))
    reader = threading.Thread(target=lambda: given.extend(camera), daemon=True)
    reader.start()
    assert waited.wait(BOUND_S)
    camera.close()
    reader.join(BOUND_S)
    assert not reader.is_alive()
    assert len(given) == 1


def test_how_long_an_early_picture_is_waited_for():
    clock, waits = Clock(), []

    def wait(event, seconds):
        waits.append((event.is_set(), seconds))
        return False

    camera = plugged(clock, Cable(clock, [(0.0, 0.0), (0.0, 0.4), (0.0, 0.8)], paced=True), wait=wait)
    list(islice(camera, 3))
    # Two times differ by a millisecond at least, also that of the first picture and the beginning.
    assert waits == [(False, pytest.approx(at_s + 0.001)) for at_s in (0.0, 0.4, 0.8)]


def test_waiting_for_the_next_attempt_ends_by_itself():
    clock = Clock()
    camera = plugged(clock, Cable(clock, [(0.0, None)]), Cable(clock, [(0.1, None)]), backoff=Backoff(first_s=0.001))
    assert camera.reconnects == 0
    assert len(list(islice(camera, 2))) == 2
    assert camera.reconnects == 1


def test_a_camera_that_does_not_say_so_is_never_paced():
    clock, waits = Clock(), []

    def wait(event, seconds):
        waits.append(seconds)
        return False

    bursts = []
    for n in range(4):
        bursts += [(4.0, 4.0 * n)] + [(0.0, 4.0 * n + i / 10) for i in range(1, 40)]
    list(islice(plugged(clock, Cable(clock, bursts), wait=wait), 160))
    assert waits == []
    clock.now_s = 0.0
    list(islice(plugged(clock, Cable(clock, bursts, may_burst=True), wait=wait), 160))
    assert waits


@pytest.mark.parametrize(("lost_s", "waits_s"), [(9.9, 1.0), (10.0, 0.5), (10.9, 0.5)])
def test_a_connection_that_held_ten_seconds_begins_from_the_beginning(lost_s, waits_s):
    backoff = Backoff(jitter=lambda: 0.0)
    for _ in range(6):
        backoff.next_wait_s(0.0)
    backoff.connected(100.0)
    backoff.connected(100.0 + lost_s)
    assert backoff.next_wait_s(100.0 + lost_s) == waits_s


@pytest.mark.parametrize(("lost_s", "waits_s"), [(119.9, 2.0), (120.0, 15.0), (120.5, 15.0)])
def test_two_minutes_after_the_last_picture_it_is_bothered_seldom(lost_s, waits_s):
    backoff = Backoff(jitter=lambda: 0.0)
    backoff.connected(0.0)
    for _ in range(8):
        backoff.next_wait_s(5.0)
    assert backoff.next_wait_s(lost_s) == waits_s


def test_two_minutes_count_from_the_last_picture_not_from_the_loss():
    backoff = Backoff(jitter=lambda: 0.0)
    for _ in range(6):
        backoff.next_wait_s(0.0)
    backoff.connected(100.0)
    backoff.connected(101.0)
    # Silent for three minutes before anybody noticed; it held for as long, so it begins from the beginning.
    assert [backoff.next_wait_s(281.0) for _ in range(4)] == [0.5, 1.0, 2.0, 4.0]
