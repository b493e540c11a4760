"""Frames, clips, boxes and detections hold what they promise, none at all included."""

from __future__ import annotations

import numpy as np
import pytest

from detector.types import Boxes, Clip, Detections, Frame


def picture(h: int = 4, w: int = 6) -> np.ndarray:
    return np.zeros((h, w, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 6), np.uint8), r"\(4, 6\)"),
        (np.zeros((4, 6, 3), np.float32), "float32"),
        (np.zeros((4, 6, 4), np.uint8), r"\(4, 6, 4\)"),
    ],
)
def test_frame_refuses_what_is_not_a_bgr_picture(image, says):
    with pytest.raises(ValueError, match=says):
        Frame(image, 0, 0.0)


def test_clip_refuses_a_key_frame_outside_itself():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        Clip(np.zeros((2, 4, 6, 3), np.uint8), Frame(picture(), 0, 0.0), 2)


def test_nobody_is_an_ordinary_case():
    nobody = Boxes.empty()
    assert len(nobody) == 0
    assert nobody.xyxy.shape == (0, 4)
    assert len(nobody[[]]) == len(nobody[np.zeros(0, bool)]) == 0
    assert len(nobody.clip_to((10, 10))) == 0
    assert len(Detections(nobody, np.zeros((0, 80)))) == 0


def test_selecting_people_keeps_the_type_and_the_rows_together():
    boxes = Boxes([[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]], [0.9, 0.8, 0.7], [7, 8, 9])
    chosen = Detections(boxes, np.arange(6).reshape(3, 2))[np.array([True, False, True])]
    assert isinstance(chosen.boxes, Boxes)
    assert chosen.boxes.track_id.tolist() == [7, 9]
    assert chosen.boxes.xyxy[1].tolist() == [4, 4, 5, 5]
    assert chosen.action_scores.tolist() == [[0, 1], [4, 5]]


def test_people_without_tracks_have_id_minus_one():
    assert Boxes([[0, 0, 1, 1]], [0.5]).track_id.tolist() == [-1]


def test_boxes_are_moved_into_the_picture():
    clipped = Boxes([[-5, -5, 100, 100]], [1.0]).clip_to((20, 30))
    assert clipped.xyxy.tolist() == [[0, 0, 30, 20]]


@pytest.mark.parametrize(
    ("xyxy", "score", "track"),
    [([[0, 0, 1, 1]], [], None), ([[0, 0, 1]], [1.0], None), ([[0, 0, 1, 1]], [1.0], [1, 2])],
)
def test_boxes_refuse_rows_that_do_not_match(xyxy, score, track):
    with pytest.raises(ValueError):
        Boxes(xyxy, score, track)


def test_detections_refuse_scores_of_other_people():
    with pytest.raises(ValueError, match="action_scores"):
        Detections(Boxes([[0, 0, 1, 1]], [1.0]), np.zeros((2, 80)))
