"""Privacy: masked areas are black, people and heads cannot be recognised, nothing else changes."""

import numpy as np
import pytest

from detector.types import Boxes
from stream.service.privacy import Blackout, blur

RNG = np.random.default_rng(0)


def picture(h=120, w=160):
    return RNG.integers(1, 255, (h, w, 3), np.uint8)


def detail(region):
    """How much neighbours differ: high in noise, low in a few flat cells."""
    return np.abs(np.diff(region.astype(int), axis=0)).mean()


def test_masked_areas_are_black_and_the_rest_is_as_it_was():
    image = picture()
    black = Blackout([[(0, 0), (0.5, 0), (0.5, 1), (0, 1)]]).apply(image.copy())
    assert not black[:, :80].any()
    np.testing.assert_array_equal(black[:, 82:], image[:, 82:])


def test_a_picture_that_must_not_be_written_to_is_copied():
    image = picture()
    image.flags.writeable = False
    before = image.copy()
    assert not Blackout([[(0, 0), (1, 0), (1, 1), (0, 1)]]).apply(image).any()
    np.testing.assert_array_equal(image, before)


def test_without_masks_nothing_is_done():
    image = picture()
    assert Blackout([]).apply(image) is image


@pytest.mark.parametrize(("what", "legs_clear"), [("people", False), ("faces", True)])
def test_people_or_their_heads_cannot_be_recognised(what, legs_clear):
    image, boxes = picture(), Boxes([[40, 20, 70, 110]], [0.9])
    blurred = blur(image, boxes, what)
    assert detail(blurred[20:40, 40:70]) < 0.2 * detail(image[20:40, 40:70])
    legs = np.s_[80:110, 40:70]
    assert np.array_equal(blurred[legs], image[legs]) is legs_clear
    np.testing.assert_array_equal(blurred[:, 100:], image[:, 100:])


def test_a_head_that_fills_the_box_is_blurred_whole():
    image = picture()
    blurred = blur(image, Boxes([[20, 20, 100, 100]], [0.9]), "faces")
    assert detail(blurred[20:75, 20:100]) < 0.2 * detail(image[20:75, 20:100])


@pytest.mark.parametrize("xyxy", [[-20, -20, 10, 10], [150, 110, 400, 400], [5, 5, 5, 5]])
def test_boxes_at_the_border_do_no_harm(xyxy):
    assert blur(picture(), Boxes([xyxy], [0.9]), "people").shape == (120, 160, 3)


def test_none_leaves_all_as_it_is():
    image = picture()
    assert blur(image, Boxes([[0, 0, 50, 50]], [0.9]), "none") is image
