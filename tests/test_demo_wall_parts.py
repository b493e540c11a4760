"""Parts of the wall without sockets: words, the day's plot, previews of rules, scaled pictures."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

pytest.importorskip("pydantic")

from demo_fakes import LABELS, MODEL
from stream_service_fakes import House, settings, wait_until

from demo.wall.day import colour_for, day_figure
from demo.wall.preview import History, would_have_told
from demo.wall.tiles import Tiles, styles_for, width_for
from demo.wall.words import words_of
from detector.errors import UserError
from detector.types import Boxes, Detections
from stream.events.records import Event
from stream.events.rules import RuleSet
from stream.results import KeyFrameResult
from stream.service.counts import Numbers
from stream.service.snapshot import CameraNow


def now(state="online", message="", silent_s=0.1, awake=True, **numbers) -> CameraNow:
    return CameraNow("door", state, message, True, silent_s, False, awake, Numbers(**numbers))


@pytest.mark.parametrize(("camera", "mood", "words"), [
    (now(answers=5, delay_s=0.84), "good", "Live, labels 0.8 s late"),
    (now(answers=5, delay_s=0.84, awake=False), "good", "Live, labels 0.8 s late, quiet"),
    (now(), "wait", "Live, the first labels are on their way…"),
    (now(silent_s=3.1, message="fell silent", answers=1), "bad", "No picture for 3 s: fell silent"),
    (now("offline", "no answer within 5 s", 12), "bad", "Offline for 12 s: no answer within 5 s"),
    (now("offline", "", 200), "bad", "Offline for 3 min"),
    (now("failed", "no such model"), "bad", "Failed: no such model"),
    (now("starting"), "wait", "Starting…"), (now("paused"), "off", "Paused"),
    (now("off", "not enabled"), "off", "Off: not enabled"), (now("off"), "off", "Off at this hour"),
])
def test_how_a_camera_is_is_said_in_words(camera, mood, words):
    assert words_of(camera) == (mood, words)


def event(name, start, end, **more) -> Event:
    values = {"camera": "door", "rule": "fall", "kind": "action", "start_s": 0, "told_s": 0, "action": "fall down"}
    return Event(name, **(values | {"start_utc": start, "end_utc": end, "end_s": None if end is None else 1} | more))


def test_the_plot_of_a_day_has_cameras_as_rows_and_events_as_spans():
    day = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    events = [event("a", day + 3600, day + 7200), event("b", day + 9000, None),
              event("c", day + 60, day + 61, camera="gone", rule="walks", action="walk", unproven=True)]
    figure = day_figure(events, ["door", "hall"], day, day + 86400, marks={"a": "wrong:sit"}, zone=UTC)
    traces = {trace["name"]: trace for trace in figure["data"]}
    fall = traces["fall: fall down"]
    assert fall["y"] == ["door", "door"]
    assert fall["base"] == ["2026-05-01 01:00:00", "2026-05-01 02:30:00"]
    # The first lasts an hour; the second goes on, to the end of the day. Plotly counts in milliseconds.
    assert fall["x"] == [3_600_000, (86400 - 9000) * 1000]
    assert fall["marker"]["opacity"] == [0.35, 1.0]
    assert [fall["marker"]["pattern"]["shape"], traces["walks: walk"]["marker"]["pattern"]["shape"]] == ["", "/"]
    # A moment is as wide as can be seen: a 250th of the day.
    assert traces["walks: walk"]["x"] == [pytest.approx(86400 / 250 * 1000)]
    assert figure["layout"]["yaxis"]["categoryarray"] == ["gone", "hall", "door"]
    assert fall["customdata"][0][0] == "a"
    json.dumps(figure)


def test_a_rule_keeps_its_colour_on_days_with_other_rules():
    day = 1_770_000_000.0
    both = day_figure([event("a", day, day + 9), event("b", day, day + 9, rule="x")], [], day, day + 100)
    one = day_figure([event("b", day, day + 9, rule="x")], [], day, day + 100)
    assert one["data"][0]["marker"]["color"] == both["data"][1]["marker"]["color"] == colour_for("x: fall down")


def answer(time_s, score, people=1) -> KeyFrameResult:
    boxes = Boxes(np.tile([[10.0, 10, 20, 40]], (people, 1)), np.ones(people), np.arange(people))
    scores = np.tile(np.array([[0, score, 0]], np.float32), (people, 1))
    return KeyFrameResult("x", 0, time_s, time_s, (48, 64), Detections(boxes, scores), MODEL, captured_utc=1e9 + time_s)


def rules(**rule) -> RuleSet:
    return RuleSet.model_validate({"rules": [{"name": "r", "ends_after": 1, **rule}]})


def test_a_preview_counts_what_a_rule_would_have_told():
    clock_s = [0.0]
    history = History(kept_s=100.0, clock=lambda: clock_s[0])
    # Walks for 3 s, three times, with 7 s between.
    for tenth in range(300):
        clock_s[0] = tenth / 10
        history.take("door", answer(tenth / 10, 0.9 if tenth % 100 < 30 else 0.1))
    told = would_have_told("door", rules(kind="action", action="walk", over=0.6, **{"for": 1}), "r", history.of("door"))
    assert (told["times"], told["minutes"]) == (3, 0.5)
    assert [round(utc - 1e9) for utc, _, _ in told["events"]] == [0, 10, 20]
    longer = rules(kind="action", action="walk", over=0.6, **{"for": 5})
    never = would_have_told("door", longer, "r", history.of("door"))
    assert never["times"] == 0
    assert would_have_told("hall", rules(kind="stay", **{"for": 1}), "r", history.of("hall"))["times"] == 0
    with pytest.raises(UserError, match="swim"):
        would_have_told("door", rules(kind="action", action="swim"), "r", history.of("door"))


def test_the_history_forgets_what_is_old():
    clock_s = [0.0]
    history = History(kept_s=10.0, clock=lambda: clock_s[0])
    for second in range(30):
        clock_s[0] = float(second)
        history.take("door", answer(float(second), 0.9))
    assert [seen.time_s for seen in history.of("door")] == [float(s) for s in range(19, 30)]
    history.forget({"hall"})
    assert history.of("door") == []


@pytest.mark.parametrize(("shown", "made"), [(1, 160), (160, 160), (161, 240), (700, 960), (5000, 1280)])
def test_a_tile_gets_the_next_larger_width(shown, made):
    assert width_for(shown) == made


def decoded(tile):
    return cv2.imdecode(np.frombuffer(tile.jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_pictures_are_scaled_made_once_and_only_when_new():
    with House() as house:
        camera = house.camera("door")
        source = house.source("door")
        source.size_hw = (480, 640)
        source.show(step_s=0.02)
        wait_until(lambda: camera.look() is not None and camera.session is not None)
        tiles = Tiles()
        tile = tiles.picture(camera, 160)
        assert decoded(tile).shape == (120, 160, 3)
        assert tiles.picture(camera, 160) is tile
        assert tiles.picture(camera, 160, known=tile.mark) is None
        assert decoded(tiles.picture(camera, 1280)).shape == (480, 640, 3)
        source.show(step_s=0.02)
        wait_until(lambda: tiles.picture(camera, 160, known=tile.mark) is not None)
        assert set(json.loads(tile.about)) == {"time_s", "people"}
        assert set(styles_for(camera)) == {a.short_name for a in camera.session.model.labels}


def test_what_is_blurred_or_kept_to_numbers_does_not_leave_by_a_tile():
    with House() as house:
        camera = house.camera("quiet", settings("x", pictures="none"))
        house.source("quiet").show(step_s=0.02)
        wait_until(lambda: camera.session is not None and camera.counts.numbers(0.0).taken > 0)
        assert Tiles().picture(camera, 160) is None


def test_labels_have_the_same_colours_everywhere():
    from demo.colours import styles_of

    assert styles_of(LABELS, ("walk",)) == {
        "stand": ["#009E73", False], "walk": ["#0072B2", True], "sit": ["#E69F00", False]}
