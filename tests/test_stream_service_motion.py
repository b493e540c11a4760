"""The motion gate on rendered pictures: noise and light do not count, people do, masks hide."""

import numpy as np
import pytest

from stream.service.motion import MotionGate, polygon_mask

SIZE_HW = (360, 640)


def scene(time_s, walker=None, noise=4.0, light=0.0, seed=0):
    """A textured wall with noise, and somebody of 25x70 pixels at x = `walker`."""
    rng = np.random.default_rng(3)
    image = np.repeat(np.repeat(rng.integers(60, 180, (45, 80, 3)), 8, 0), 8, 1).astype(np.float32)
    if walker is not None:
        image[200:270, int(walker):int(walker) + 25] = (40, 40, 200)
    jitter = np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.clip(image + light + jitter, 0, 255).astype(np.uint8)


def moving_share(gate, walker=lambda t: None, light=lambda t: 0.0, start=0, count=60):
    flags = [
        gate.moved(scene(i * 0.2, walker(i * 0.2), light=light(i * 0.2), seed=i), i * 0.2)
        for i in range(start, start + count)
    ]
    return np.mean(flags[10:])


def test_noise_alone_is_no_motion():
    assert moving_share(MotionGate("high")) == 0


@pytest.mark.parametrize("sensitivity", ["medium", "high"])
def test_somebody_small_who_walks_is_motion(sensitivity):
    assert moving_share(MotionGate(sensitivity), walker=lambda t: 20 + 40 * t) == 1


def test_somebody_who_stands_becomes_background():
    gate = MotionGate()
    assert moving_share(gate, walker=lambda t: 300, count=200) < 0.1
    assert gate.moved(scene(40.2, walker=340), 40.2)


def test_slow_light_is_no_motion():
    assert moving_share(MotionGate(), light=lambda t: 0.5 * t) == 0


def test_what_moves_behind_a_mask_counts_for_nothing():
    everywhere = [[(0, 0.5), (1, 0.5), (1, 0.8), (0, 0.8)]]
    assert moving_share(MotionGate("high", everywhere), walker=lambda t: 20 + 40 * t) == 0


def test_it_starts_afresh_where_the_picture_changes_its_size_or_time_goes_back():
    gate = MotionGate()
    moving_share(gate)
    assert gate.moved(np.zeros((120, 160, 3), np.uint8), 100.0)
    assert gate.moved(np.zeros((120, 160, 3), np.uint8), 1.0)


def test_pictures_that_come_soon_after_each_other_cost_nothing():
    gate = MotionGate()
    assert gate.moved(scene(0), 0.0)
    assert not gate.moved(scene(0), 0.1)


def test_a_mask_is_where_its_corners_say():
    mask = polygon_mask([[(0.5, 0), (1, 0), (1, 1), (0.5, 1)]], (10, 20))
    assert not mask[:, :9].any()
    assert mask[:, 10:].all()
