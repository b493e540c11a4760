"""Spans of time, worked out by hand; the plot and the table say the same."""

from __future__ import annotations

import numpy as np
import pytest
from demo_fakes import LABELS, MODEL

from demo.timeline import Summary, clock_text, draw_timeline, find_spans, summarise, table_csv, table_rows
from detector.types import Boxes, Detections
from stream.results import KeyFrameResult

LIMITS = np.array([0.5, 0.5, 0.5], np.float32)


def result(time_s: float, people: dict[int, list[float]]) -> KeyFrameResult:
    boxes = Boxes(np.zeros((len(people), 4)), np.ones(len(people)), np.array(list(people), int))
    scores = np.array(list(people.values()), np.float32).reshape(-1, 3)
    return KeyFrameResult("x", 0, time_s, time_s, (10, 10), Detections(boxes, scores), MODEL)


def spans(people_at: dict[float, dict[int, list[float]]], duration_s: float):
    return find_spans(summarise([result(t, p) for t, p in people_at.items()], duration_s, LABELS), LIMITS)


def test_a_span_reaches_half_way_to_the_key_frames_that_say_otherwise():
    found = spans({0.0: {1: [0, 0, 0]}, 1.0: {1: [0, 0.6, 0]}, 2.0: {1: [0, 0.8, 0]}, 3.0: {1: [0, 0.1, 0]}}, 4.0)
    assert [(s.person, s.action, s.start_s, s.end_s) for s in found] == [(1, "walk", 0.5, 2.5)]
    assert found[0].mean_score == pytest.approx(0.7)
    assert found[0].best_score == pytest.approx(0.8)


def test_a_key_frame_without_the_person_ends_the_span():
    found = spans({0.0: {1: [0.9, 0, 0]}, 1.0: {}, 2.0: {1: [0.9, 0, 0]}}, 2.2)
    assert [(s.start_s, s.end_s) for s in found] == [(0.0, 0.5), (1.5, 2.2)]


def test_spans_stay_inside_the_video():
    assert [(s.start_s, s.end_s) for s in spans({0.0: {1: [1, 0, 0]}}, 0.3)] == [(0.0, 0.3)]


def test_a_score_at_its_threshold_counts():
    assert len(spans({0.0: {1: [0.5, 0.4999, 0]}}, 1.0)) == 1


def test_people_without_a_track_and_empty_videos_have_no_spans():
    assert spans({0.0: {-1: [1, 1, 1]}}, 1.0) == []
    assert spans({}, 1.0) == []


def test_several_people_are_sorted_and_kept_apart():
    found = spans({0.0: {7: [0, 0, 1], 2: [1, 0, 0]}, 1.0: {7: [0, 0, 1]}}, 2.0)
    assert [(s.person, s.action) for s in found] == [(2, "stand"), (7, "sit")]


@pytest.mark.parametrize(("time_s", "text"), [(0, "0:00.0"), (9.96, "0:10.0"), (64.54, "1:04.5"), (600, "10:00.0")])
def test_times_read_as_minutes_and_seconds(time_s, text):
    assert clock_text(time_s) == text


def test_the_table_has_a_row_a_span():
    found = spans({0.0: {1: [0, 0.9, 0]}, 1.0: {1: [0, 0.7, 0]}}, 2.0)
    assert table_rows(found) == [["Person 1", "walk", "0:00.0", "0:01.5", 1.5, 0.9, "yes"]]
    assert table_csv(found) == (
        "person,action,from_s,to_s,seconds,mean_score,best_score,proven\n1,walk,0.000,1.500,1.500,0.8000,0.9000,yes\n"
    )


def test_an_action_keeps_its_colour_whatever_else_is_shown():
    pytest.importorskip("plotly")
    people = {0.0: {1: [0.9, 0.9, 0]}, 1.0: {1: [0, 0.9, 0.8]}}
    summary = summarise([result(t, p) for t, p in people.items()], 2.0, LABELS)

    def colours(limits):
        return {bar.name: bar.marker.color for bar in draw_timeline(find_spans(summary, np.array(limits)), 2.0).data}

    everything = colours([0.5, 0.5, 0.5])
    assert len(set(everything.values())) == 3
    assert colours([0.5, 0.95, 0.5]) == {name: everything[name] for name in ("stand", "sit")}


def test_what_is_not_proven_on_real_video_is_hatched_and_said():
    pytest.importorskip("plotly")
    summary = summarise([result(0.0, {1: [0.9, 0.9, 0]})], 1.0, LABELS, ("walk",))
    found = find_spans(summary, LIMITS)
    bars = {bar.name: bar for bar in draw_timeline(found, 1.0).data}
    assert (bars["stand"].marker.pattern.shape, bars["walk"].marker.pattern.shape) == ("/", None)
    assert "not proven" in bars["stand"].hovertemplate
    assert [row[-1] for row in table_rows(found)] == ["no", "yes"]


def test_the_plot_puts_overlapping_actions_of_a_person_in_different_lanes():
    pytest.importorskip("plotly")
    found = spans({0.0: {1: [0.9, 0.9, 0], 2: [0, 0.8, 0]}, 1.0: {1: [0.9, 0, 0]}}, 2.0)
    bars = {bar.name: bar for bar in draw_timeline(found, 2.0).data}
    assert set(bars) == {"stand", "walk"}
    lanes = [*bars["stand"].y, *bars["walk"].y]
    assert len(set(lanes)) == 3
    assert list(bars["stand"].base) == [0.0]
    assert list(bars["stand"].x) == [1.5]
    assert bars["walk"].customdata[0][0] == "Person 1"


def test_the_plot_of_nobody_says_so():
    pytest.importorskip("plotly")
    assert "lower them" in draw_timeline([], 3.0).layout.annotations[0].text


def test_the_plot_of_a_crowd_is_cut():
    pytest.importorskip("plotly")
    crowd = Summary(np.array([0.0]), 1.0, LABELS, {
        i: (np.array([0]), np.ones((1, 3)), np.ones((1, 3), bool)) for i in range(100)
    })
    figure = draw_timeline(find_spans(crowd, LIMITS), 1.0)
    assert len(figure.layout.yaxis.tickvals) == 40
