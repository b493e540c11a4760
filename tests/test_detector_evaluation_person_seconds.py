"""Person-seconds: overlap, the highest pose, missed people, wrong files."""

from __future__ import annotations

import pytest

from detector.errors import UserError
from detector.evaluation.person_seconds import count_person_seconds


def compare(tmp_path, labels, scores):
    (tmp_path / "l.csv").write_text("\n".join(labels))
    (tmp_path / "s.csv").write_text("\n".join(scores))
    return count_person_seconds(tmp_path / "l.csv", tmp_path / "s.csv")


def test_right_is_the_true_pose_on_top_in_the_best_overlapping_box(tmp_path):
    labels = ["v,1,0.1,0.1,0.3,0.9,14,1", "v,1,0.6,0.1,0.8,0.9,12,2", "v,2,0.1,0.1,0.3,0.9,14,1",
              "v,2,0.6,0.1,0.8,0.9,12,2", "v,2,0.6,0.1,0.8,0.9,69,2"]
    scores = ["v,0001,0.1,0.1,0.3,0.9,14,0.6", "v,0001,0.1,0.1,0.3,0.9,12,0.3", "v,0001,0.1,0.1,0.3,0.9,69,0.99",
              "v,0001,0.62,0.1,0.8,0.9,14,0.5", "v,0001,0.62,0.1,0.8,0.9,12,0.4", "v,0002,0.1,0.1,0.29,0.9,14,0.2"]
    result = compare(tmp_path, labels, scores)
    assert (result.total, result.found, result.right) == (4, 3, 2)  # waving is no pose and does not count
    assert result.share == 0.5
    assert dict(result.confusion) == {("walk", "walk"): 2, ("stand", "walk"): 1, ("stand", "not found"): 1}


def test_a_box_that_overlaps_less_than_half_is_somebody_else(tmp_path):
    result = compare(tmp_path, ["v,1,0,0,0.4,1,12,1"], ["v,0001,0.2,0,0.6,1,12,0.9"])
    assert (result.found, result.right) == (0, 0)


def test_wrong_columns_and_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="line 1: got 7 columns"):
        compare(tmp_path, ["v,1,0,0,1,1,12"], [])
    with pytest.raises(UserError, match="cannot be read"):
        count_person_seconds(tmp_path / "none.csv", tmp_path / "none.csv")
