"""Parting key frames into training and validation: every action on both sides, by video where that can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.samples import KeyFrameSample
from detector.data.split import missing_columns, split_samples


def samples_of(*rows: tuple[str, float, str], names: str) -> list[KeyFrameSample]:
    """Key frames of (video, seconds, actions): a letter an action, of one person each."""
    return [
        KeyFrameSample(
            (video, round(time_s * 1e6)), Path(video), time_s, np.array([[0.1, 0.1, 0.5, 0.9]], np.float32),
            np.array([[float(name in actions) for name in names]], np.float32), ("my.csv", line),
        )
        for line, (video, time_s, actions) in enumerate(rows, start=1)
    ]


def part(*rows, names, share=0.2, seed=0):
    samples = samples_of(*rows, names=names)
    split = split_samples(samples, share, list(names), seed)
    keys = [s.key for s in split.train + split.validation]
    assert sorted(keys) == sorted(s.key for s in samples), "each key frame is on one side"
    assert split.train
    assert split.validation
    return split


def videos(samples):
    return {s.key[0] for s in samples}


@pytest.mark.parametrize("seed", range(20))
def test_eight_clips_of_three_actions_put_every_action_on_both_sides(seed):
    rows = [(f"{i}.mp4", 1.0, "abc"[i % 3]) for i in range(8)]
    split = part(*rows, names="abc", seed=seed)
    assert not missing_columns(split.train)
    assert not missing_columns(split.validation)
    assert not videos(split.train) & videos(split.validation)
    assert len(split.validation) == 3  # no fewer will do
    assert "whole videos" in split.note


@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_of_many_videos_validates(seed):
    rows = [(f"{i}.mp4", t, "abcd"[i % 4]) for i in range(40) for t in (1.0, 2.0)]
    split = part(*rows, names="abcd", seed=seed)
    assert len(videos(split.validation)) == 8
    assert not missing_columns(split.validation)
    assert not videos(split.train) & videos(split.validation)


def test_an_action_in_one_video_alone_parts_by_time_and_says_so():
    rows = [(f"{i}.mp4", t, "ab"[i % 2]) for i in range(4) for t in (1.0, 2.0, 3.0)]
    rows += [("4.mp4", t, "c") for t in (1.0, 2.0, 3.0)]
    split = part(*rows, names="abc")
    assert not missing_columns(split.train)
    assert not missing_columns(split.validation)
    assert "by time" in split.note
    assert "in one video alone: c" in split.note
    assert "scenes are on both sides" in split.note


def test_one_video_validates_on_its_end():
    split = part(*[("a.mp4", float(t), "ab"[t % 2]) for t in range(10)], names="ab")
    assert [s.time_s for s in split.validation] == [8.0, 9.0]
    assert "there is one video" in split.note


def test_of_one_video_an_action_that_ends_early_changes_sides():
    split = part(*[("a.mp4", float(t), "a" if t < 4 else "b") for t in range(20)], names="ab")
    assert not missing_columns(split.train)
    assert not missing_columns(split.validation)
    assert [s.time_s for s in split.validation if s.targets[0, 0]] == [3.0]


def test_an_action_with_a_single_key_frame_trains():
    for late in (0.0, 9.5):
        rows = [("a.mp4", float(t), "a") for t in range(1, 9)] + [("a.mp4", late, "b")]
        split = part(*rows, names="ab")
        assert missing_columns(split.train) == []
        assert missing_columns(split.validation) == [1]


def test_actions_that_come_together_are_kept_on_both_sides():
    rows = [(f"{i}.mp4", 1.0, text) for i, text in enumerate(["ab", "bc", "ca", "ab", "bc", "ca", "a", "b"])]
    split = part(*rows, names="abc")
    assert not missing_columns(split.train)
    assert not missing_columns(split.validation)
    assert not videos(split.train) & videos(split.validation)


def test_the_same_seed_draws_the_same_videos():
    rows = [(f"{i}.mp4", 1.0, "ab"[i % 2]) for i in range(20)]
    first, again, other = (part(*rows, names="ab", seed=seed) for seed in (1, 1, 2))
    assert videos(first.validation) == videos(again.validation) != videos(other.validation)


def test_people_who_do_nothing_are_no_reason_to_part_by_time():
    rows = [(f"{i}.mp4", 1.0, "" if i < 5 else "a") for i in range(10)]
    split = part(*rows, names="a")
    assert "whole videos" in split.note
    assert not missing_columns(split.validation)
