"""How well live boxes keep up: overlaps worked out by hand, and the command's mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import UserError
from detector.types import Boxes
from stream.bench_boxes import compare, main


def boxes(*xyxy: tuple[float, float, float, float]) -> Boxes:
    return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.ones(len(xyxy)))


def test_each_person_is_compared_with_a_box_of_their_own():
    reference = {0: boxes((0, 0, 10, 10), (0, 0, 10, 20)), 1: boxes((0, 0, 10, 10)), 2: boxes()}
    shown = {0: boxes((0, 0, 10, 10), (50, 50, 60, 60)), 1: boxes((5, 0, 15, 10)), 2: boxes()}
    figures = compare(reference, shown)
    # 1 and 0 in the first picture (one box cannot be two people's), a third in the second.
    assert figures == pytest.approx({"people": 3, "median_iou": 1 / 3, "without_a_box": 1 / 3, "extra": 1 / 3})


def test_pictures_before_the_first_and_those_not_shown_do_not_count():
    reference = {i: boxes((0, 0, 10, 10)) for i in range(4)}
    figures = compare(reference, {0: boxes(), 3: boxes((0, 0, 10, 10)), 9: boxes((0, 0, 1, 1))}, first=1)
    assert figures == {"people": 1, "median_iou": 1, "without_a_box": 0, "extra": 0}


def test_nobody_at_all_is_no_division_by_zero():
    assert compare({0: boxes()}, {0: boxes()}) == {"people": 0, "median_iou": 0, "without_a_box": 0, "extra": 0}


@pytest.mark.parametrize(("arguments", "words"), [
    (["nowhere.mp4"], "nowhere.mp4: no such file"), ([__file__, "--rounds", "0"], "--rounds 0: expected"),
])
def test_mistakes_are_one_line(arguments, words):
    with pytest.raises(UserError, match=words):
        main(arguments)
