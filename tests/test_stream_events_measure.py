"""Measuring: the arithmetic on made-up films, and the falls of the labelled clips where they are at hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from events_fakes import LABELS, observe, person

from detector.errors import UserError
from stream.events.measure import measure_action, measure_places, rule_of, table
from stream.events.truth import Segment, TrueBox, read_segments, read_vtest, true_observations

MEDIA = Path(__file__).resolve().parent.parent.parent / "shared" / "media"


def falling(at_s: float, seconds: float = 8.0) -> list:
    """Somebody who falls at a moment: his score rises and his box sinks."""
    seen = []
    for n in range(round(seconds * 5)):
        t = n / 5
        down = at_s <= t < at_s + 1
        seen.append(observe(t, person(h=0.2 if t >= at_s else 0.4, fall=0.9 if down else 0.0)))
    return seen


def test_right_missed_false_and_late_are_counted():
    films = {"a": falling(2.0), "b": falling(99.0), "c": falling(4.0), "day": falling(3.0, 36.0)}
    segments = [Segment("a", "fall down", 2.0, 3.0), Segment("b", "fall down", 2.0, 3.0), Segment("c", "walk", 0, 8)]
    row = measure_action("fall", films, segments, ["day"], look_ahead_s=0.5)
    assert (row.right, row.missed, row.false) == (1, 1, 1)
    assert row.late_s == pytest.approx(0.5)
    assert row.false_an_hour == pytest.approx(3600 / films["day"][-1].time_s)
    assert table([row])[-1].startswith("| fall | 2 segments of labelled clips | 1 | 1 | 1 | 0.5 |")


def test_an_event_long_after_its_segment_is_not_right():
    row = measure_action("fall", {"a": falling(7.0, 12.0)}, [Segment("a", "fall down", 2.0, 3.0)], [], 0.0)
    assert (row.right, row.missed, row.false) == (0, 1, 1)


def test_the_score_alone_is_measured_beside_the_rule():
    still = [observe(t / 5, person(fall=0.9)) for t in range(20)]
    segment = [Segment("a", "walk", 0.0, 9.0)]
    assert measure_action("fall", {"a": still}, segment, [], 0.0).false == 0
    assert measure_action("fall, score alone", {"a": still}, segment, [], 0.0).false == 1


def test_places_are_measured_against_the_tracks_themselves():
    truth = [TrueBox(t, 1, (0.1 + t / 25, 0.5, 0.15 + t / 25, 0.8), "walk") for t in range(20)]
    seen = true_observations(truth, LABELS)
    rows = {row.rule: row for row in measure_places(seen, truth, LABELS)}
    assert (rows["line crossing"].right, rows["line crossing"].missed, rows["line crossing"].false) == (1, 0, 0)
    assert (rows["loitering 5 s"].right, rows["loitering 5 s"].missed) == (1, 0)
    nobody = measure_places([observe(t) for t in range(20)], truth, LABELS)
    assert [(row.right, row.missed) for row in nobody] == [(0, 1), (0, 1)]


def test_labels_are_read(tmp_path):
    folder = tmp_path / "actions"
    folder.mkdir()
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([
            ["file", "label", "seconds"], ["a.mp4", "fall down", "2.8-4.2"], ["b.mp4", "walk", ""],
            ["c.mp4", "crouch/kneel", "whole: repeated squats, about half"],
        ])
    assert read_segments(tmp_path) == [
        Segment("a.mp4", "fall down", 2.8, 4.2), Segment("b.mp4", "walk", 0.0, float("inf")),
        Segment("c.mp4", "crouch/kneel", 0.0, float("inf")),
    ]
    with pytest.raises(UserError, match="labelled videos"):
        read_segments(tmp_path / "none")


@pytest.mark.skipif(not (MEDIA / "vtest_labels.csv").exists(), reason="the labelled videos are not here")
def test_the_tracks_of_vtest_are_shares_of_its_picture():
    boxes = read_vtest(MEDIA)
    assert len(boxes) > 150
    assert {box.pose for box in boxes} == {"walk", "stand", ""}
    assert all(-0.1 < v < 1.1 for box in boxes for v in box.box)
    assert all(box.box[2] > box.box[0] and box.box[3] > box.box[1] for box in boxes)


def test_the_rule_that_is_measured_is_the_one_of_the_example():
    """The figures of the README are about the rules that `example falls` prints."""
    from importlib import resources

    from stream.events.rule_file import build, parse_yaml
    from stream.events.rules import RuleSet

    text = (resources.files("stream.events") / "examples" / "falls.yaml").read_text()
    values, lines = parse_yaml(text, "falls.yaml")
    example, measured = build(RuleSet, values, lines).rules[0], rule_of("fall").rules[0]
    assert json.loads(example.model_dump_json(exclude={"name"})) == json.loads(
        measured.model_dump_json(exclude={"name"}))
