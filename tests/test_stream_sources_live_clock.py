"""Times of live streams: good stamps, bad ones, none, bursts, and connections that begin anew."""

from itertools import pairwise

import numpy as np
import pytest
from stream_fakes import Clock

from stream.gaps import FROZEN, is_gap
from stream.sources.decode import ConnectionLost
from stream.sources.live_clock import LiveClock
from stream.sources.reconnect import LiveCamera

PICTURE = np.full((4, 4, 3), 9, np.uint8)


class Delivers:
    """A connection whose pictures come when they come: pairs of (clock, stamp); later than now, it is waited for."""

    fps = 25.0

    def __init__(self, clock, arrivals, ends=False, images=None, **facts):
        self._clock, self._arrivals, self._ends, self._images = clock, arrivals, ends, images
        for name, value in facts.items():
            setattr(self, name, value)

    def __iter__(self):
        for i, (at_s, stamp_s) in enumerate(self._arrivals):
            self._clock.now_s = max(self._clock.now_s, at_s)
            yield (self._images[i] if self._images else PICTURE + i % 9), stamp_s
        if self._ends:
            raise ConnectionLost("door: the stream ended")
        raise Done

    def close(self):
        pass


class Done(Exception):
    pass


def watch(connections, clock):
    """Frames that a camera gives, with a clock that goes on when something waits."""
    made = iter(connections)

    def wait(event, seconds):
        clock.now_s += seconds
        return False

    camera = LiveCamera("door", lambda: next(made), clock=clock, wait=wait)
    frames = []
    try:
        for frame in camera:
            frames.append(frame)
    except Done:
        pass
    return frames, camera


def bursts(seconds, segment_s, fps=25.0, start_s=0.0, first_stamp_s=900.0, late_s=0.0):
    """A stream that delivers each `segment_s` of video at once, when it is over."""
    times = np.arange(0, seconds, 1 / fps)
    return [(start_s + late_s + (t // segment_s + 1) * segment_s, first_stamp_s + t) for t in times]


@pytest.mark.parametrize("segment_s", [2.0, 4.0, 6.0])
def test_segments_are_paced_by_their_stamps(segment_s):
    frames, _ = watch([Delivers(clock := Clock(), bursts(24, segment_s), paced=True)], clock)
    media, shown = np.array([f.time_s for f in frames]), np.array([f.captured_s for f in frames])
    np.testing.assert_allclose(np.diff(media), 0.04, atol=1e-6)
    assert media[-1] - media[0] == pytest.approx(24 - 0.04)
    # Given out evenly, never a burst that would be thrown away.
    np.testing.assert_allclose(np.diff(shown), 0.04, atol=1e-6)
    assert not any(is_gap(a, b) for a, b in pairwise(frames))


def test_a_stream_that_turns_out_to_come_in_bursts_is_paced_from_the_second_one_on():
    frames, _ = watch([Delivers(clock := Clock(), bursts(40, 4.0), may_burst=True)], clock)
    media, shown = np.array([f.time_s for f in frames]), np.array([f.captured_s for f in frames])
    np.testing.assert_allclose(np.diff(media)[-700:], 0.04, atol=1e-6)
    np.testing.assert_allclose(np.diff(shown)[-700:], 0.04, atol=1e-6)


@pytest.mark.parametrize("may_burst", [True, False])
def test_what_a_server_kept_for_whoever_connects_is_not_waited_for(may_burst):
    # Four seconds at once, then one after the other: the newest counts, so there is no delay for good.
    arrivals = [(4.0, 100 + t) for t in np.arange(0, 4, 0.04)] + [(t, 100 + t) for t in np.arange(4, 30, 0.04)]
    frames, _ = watch([Delivers(clock := Clock(), arrivals, may_burst=may_burst)], clock)
    assert frames[-1].captured_s == pytest.approx(arrivals[-1][0])
    np.testing.assert_allclose(np.diff([f.time_s for f in frames])[-500:], 0.04, atol=1e-6)


def test_a_camera_on_a_bad_line_is_never_paced():
    # Every ten seconds the line stands still for three; a camera does not fall behind for that.
    arrivals = [(t if t % 10 > 3 else t // 10 * 10 + 3, 100 + t) for t in np.arange(0, 60, 0.04)]
    frames, _ = watch([Delivers(clock := Clock(), arrivals, may_burst=False)], clock)
    assert frames[-1].captured_s == pytest.approx(arrivals[-1][0])


def test_a_segment_that_comes_late_makes_the_rest_late_and_not_fast():
    arrivals = bursts(8, 4.0) + bursts(8, 4.0, start_s=8, first_stamp_s=908, late_s=3)
    frames, _ = watch([Delivers(clock := Clock(), arrivals, paced=True)], clock)
    steps = np.diff([f.captured_s for f in frames])
    np.testing.assert_allclose(np.delete(steps, 199), 0.04, atol=1e-6)
    assert steps[199] == pytest.approx(3.0, abs=0.1)
    np.testing.assert_allclose(np.diff([f.time_s for f in frames]), 0.04, atol=1e-6)


def test_segments_that_are_missing_are_a_gap_and_are_not_waited_for():
    arrivals = bursts(8, 4.0) + bursts(8, 4.0, start_s=8, first_stamp_s=920)
    frames, _ = watch([Delivers(clock := Clock(), arrivals, paced=True)], clock)
    assert [i for i, (a, b) in enumerate(pairwise(frames)) if is_gap(a, b)] == [199]
    assert frames[200].time_s - frames[199].time_s == pytest.approx(12.04)
    assert frames[200].captured_s - frames[199].captured_s < 1


def test_stamps_of_segments_that_begin_again_are_another_scene():
    arrivals = bursts(8, 4.0) + bursts(8, 4.0, start_s=8, first_stamp_s=0)
    frames, _ = watch([Delivers(clock := Clock(), arrivals, paced=True)], clock)
    assert [i for i, (a, b) in enumerate(pairwise(frames)) if is_gap(a, b)] == [199]


@pytest.mark.parametrize("paced", [True, False])
@pytest.mark.parametrize(("away_s", "gap"), [(24.0, True), (1.0, False)])
def test_after_an_outage_time_has_gone_on_as_the_clock_has(paced, away_s, gap):
    clock = Clock()
    steady = [(t, 50 + t) for t in np.arange(0, 5, 0.04)]
    back = [(4.96 + away_s + t, 7 + t) for t in np.arange(0, 5, 0.04)]
    frames, camera = watch([Delivers(clock, steady, ends=True, paced=paced), Delivers(clock, back, paced=paced)], clock)
    cut = len(steady)
    assert frames[cut].time_s - frames[cut - 1].time_s == pytest.approx(away_s, abs=0.01)
    assert is_gap(frames[cut - 1], frames[cut]) == gap
    np.testing.assert_allclose(np.diff([f.time_s for f in frames[cut:]]), 0.04, atol=1e-6)
    assert [s.online for s in camera.changes()] == [False, True]


def test_a_camera_that_blinks_every_few_seconds_is_one_scene_in_the_time_of_the_clock():
    clock, connections = Clock(), []
    for i in range(10):
        connections.append(Delivers(clock, [(5 * i + t, 3 + t) for t in np.arange(0, 4, 0.04)], ends=i < 9))
    frames, camera = watch(connections, clock)
    assert not any(is_gap(a, b) for a, b in pairwise(frames))
    assert frames[-1].time_s == pytest.approx(48.96, abs=0.1)
    assert [s.online for s in camera.changes()] == [False, True] * 9


def test_a_frozen_camera_gives_nothing_and_says_so_until_it_lives_again():
    clock = Clock()
    alive = [(t, 10 + t) for t in np.arange(0, 2, 0.1)]
    frozen = [(2 + t, 11.9) for t in np.arange(0, 60, 0.1)]
    again = [(62 + t, 12 + t) for t in np.arange(0, 2, 0.1)]
    images = [PICTURE + i for i in range(20)] + [PICTURE + 19] * 600 + [PICTURE + i for i in range(30, 50)]
    camera_frames, camera = watch([Delivers(clock, alive + frozen + again, images=images)], clock)
    given = [f for f in camera_frames if 4.2 < f.captured_s < 61.9]
    assert given == []
    assert sum(is_gap(a, b) for a, b in pairwise(camera_frames)) == 1
    assert camera_frames[-1].time_s == pytest.approx(63.9, abs=0.2)
    assert [(s.online, s.reason) for s in camera.changes()] == [(False, FROZEN), (True, "")]


def test_live_time_follows_good_stamps_and_ignores_bad_ones():
    clock = LiveClock(10, start_s=100)
    # Stamps 0.1 s apart that arrive in bursts keep their own distance.
    assert clock.next(7.0, 100.00) == pytest.approx(0.0)
    assert clock.next(7.1, 100.18) == pytest.approx(0.1)
    assert clock.next(7.2, 100.19) == pytest.approx(0.2)
    # After a pause the stamps are brought back to the clock.
    assert clock.next(7.3, 105.0) == pytest.approx(5.0)
    assert clock.next(7.4, 105.1) == pytest.approx(5.1)
    # Stamps that run at the wrong rate are pulled back.
    times = [clock.next(7.4 + i, 105.1 + i / 10) for i in range(1, 30)]
    assert abs(times[-1] - 8.0) <= 1.0
    assert all(b > a for a, b in pairwise(times))
    assert not clock.paced


def test_without_stamps_live_time_is_the_clock():
    clock = LiveClock(None, start_s=10)
    assert [clock.next(None, t) for t in (10.0, 10.5, 10.4)] == pytest.approx([0.0, 0.5, 0.501])
