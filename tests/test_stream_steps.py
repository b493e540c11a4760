"""Which frames make a causal network's steps: tables of cameras, gaps, lost frames and slow machines."""

from __future__ import annotations

import numpy as np
import pytest

from stream.ring import Moment
from stream.steps import StepClock

STEP_S, FRAMES = 1 / 15, 4


def camera(times_s) -> list[Moment]:
    return [Moment(i, float(t), float(t), (48, 64)) for i, t in enumerate(times_s)]


def steps_of(clock: StepClock, moments: list[Moment], keep: int = 200):
    """All steps, frames coming one by one."""
    found = []
    for count in range(1, len(moments) + 1):
        while (step := clock.take(moments[max(count - keep, 0) : count])) is not None:
            found.append(step)
    return found


@pytest.mark.parametrize("fps", [15.0, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_cameras_of_any_rate_give_the_same_steps_in_time(fps):
    moments = camera(np.arange(int(4 * fps)) / fps)
    steps = steps_of(StepClock(STEP_S, FRAMES), moments)
    assert len(steps) in (14, 15)
    for number, step in enumerate(steps):
        wanted = (number * FRAMES + np.arange(FRAMES)) * STEP_S
        assert np.abs([m.time_s for m in step.moments] - wanted).max() <= max(0.5 / fps, EARLY) + 1e-6
        assert step.repeated == 0
        assert step.restart == (number == 0)


EARLY = 0.2 * STEP_S


def test_30_and_60_frames_a_second_give_the_very_same_moments():
    found = [
        [[round(m.time_s, 6) for m in s.moments] for s in steps_of(StepClock(STEP_S, FRAMES), camera(t))]
        for t in (np.arange(90) / 30, np.arange(180) / 60)
    ]
    assert found[0] == found[1]


def test_a_step_comes_with_its_last_frame_and_not_later():
    clock, moments = StepClock(STEP_S, FRAMES), camera(np.arange(30) / 15)
    came = [count for count in range(1, 31) if clock.take(moments[:count]) is not None]
    assert came == [4, 8, 12, 16, 20, 24, 28]


def test_a_frame_a_millisecond_early_is_the_one_that_was_waited_for():
    times = np.arange(8) / 15 - np.array([0, 0.001, 0.001, 0.001, 0, 0, 0, 0.002])
    clock, moments = StepClock(STEP_S, FRAMES), camera(times)
    assert clock.take(moments[:4]) is not None
    assert clock.take(moments[:8]) is not None


def test_a_missing_frame_is_repeated_and_counted():
    times = [i / 15 for i in range(12) if i != 5]
    steps = steps_of(StepClock(STEP_S, FRAMES), camera(times))
    assert [s.repeated for s in steps] == [0, 1, 0]
    assert [s.restart for s in steps] == [True, False, False]
    assert [round(m.time_s * 15) for m in steps[1].moments] == [4, 4, 6, 7]


def test_a_slow_camera_repeats_every_other_frame():
    steps = steps_of(StepClock(STEP_S, FRAMES), camera(np.arange(30) / 7.5))
    assert all(s.repeated == 2 for s in steps[1:])
    assert not any(s.restart for s in steps[1:])


@pytest.mark.parametrize(("away_s", "restarts"), [(0.3, [True, False]), (0.5, [True, False]), (1.0, [True, True])])
def test_a_gap_restarts_and_a_short_silence_does_not(away_s, restarts):
    before = np.arange(15) / 15
    moments = camera(np.concatenate([before, before[-1] + away_s + np.arange(15) / 15]))
    steps = steps_of(StepClock(STEP_S, FRAMES), moments)
    told = [s.restart for s in steps]
    assert told[0]
    assert sum(told) == sum(restarts)
    if sum(restarts) == 2:
        again = steps[told.index(True, 1)]
        assert again.moments[0].index == 15  # the first frame after the gap
        assert again.repeated == 0
        assert not any({m.index for m in s.moments} & set(range(15)) for s in steps[told.index(True, 1) :])


def test_what_waits_too_long_is_left_out_and_the_next_step_has_no_past():
    clock, moments = StepClock(STEP_S, FRAMES, most_behind_s=1.0), camera(np.arange(200) / 15)
    first = clock.take(moments[:1])
    assert first is None
    assert clock.take(moments[:4]).restart
    behind = []
    while (step := clock.take(moments[:16])) is not None:  # 0.8 s came in meanwhile: all of it runs
        behind.append(step)
    assert [s.restart for s in behind] == [False] * 3
    assert clock.take(moments[:60]) is None  # 2.9 s did: it goes on with what comes now
    later = clock.take(moments[:63])
    assert later.restart
    assert later.moments[0].index == 59
    assert later.skipped == 10  # 16 to 59 frames
    # A file leaves out nothing.
    assert len(steps_of(StepClock(STEP_S, FRAMES), moments)) == 50


def test_nothing_gives_nothing():
    assert StepClock(STEP_S, FRAMES).take([]) is None


def test_a_gap_is_seen_where_nothing_is_kept_of_before():
    moments = camera([*(np.arange(12) / 15), *(5 + np.arange(12) / 15)])
    told = [s.restart for s in steps_of(StepClock(STEP_S, FRAMES), moments, keep=4)]
    assert told == [True, False, False, True, False, False]
