"""Labels stay in the picture and off each other; what is drawn is where it should be."""

import dataclasses

import numpy as np
import pytest
from stream_fakes import LABELS, tiny_model

from detector.types import Boxes, Frame
from stream.picture import overlay
from stream.picture.overlay import (
    action_lines,
    colour_of,
    draw_people,
    draw_status,
    draw_update,
    draw_watermark,
    status_parts,
)
from stream.picture.placing import place_labels
from stream.picture.text import panel
from stream.results import Drops, Status, SteadyRows, Update, shown_actions

LIMITS = np.full(len(LABELS), 0.5, np.float32)


def an_update(xyxy, scores, ids=None, shape=(240, 320), grey=128, **changes) -> Update:
    n = len(xyxy)
    status = Status(camera_fps=30, compute_s=0.5)
    values = {
        "frame": Frame(np.full((*shape, 3), grey, np.uint8), 0, 1.0), "time_s": 1.0,
        "boxes": Boxes(xyxy, np.full(n, 0.9), ids if ids is not None else range(1, n + 1)),
        "scores": np.asarray(scores, np.float32).reshape(n, len(LABELS)), "status": status,
        "model": tiny_model(),
    }
    return Update(**(values | changes))


def rectangles(places, sizes):
    return [
        (p.x, p.y, p.x + sizes[i][p.option][1], p.y + sizes[i][p.option][0]) for i, p in enumerate(places) if p
    ]


def overlapping(a, b):
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


@pytest.mark.parametrize("seed", range(20))
def test_labels_never_leave_the_picture_nor_cover_each_other(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 12))
    corner = random.uniform(-20, 300, (n, 2))
    xyxy = np.concatenate([corner, corner + random.uniform(5, 120, (n, 2))], axis=1).astype(np.float32)
    sizes = [[(int(h), int(w)), (12, 30)] for h, w in random.uniform((12, 30), (60, 120), (n, 2))]
    places = place_labels(xyxy, sizes, (240, 320))
    found = rectangles(places, sizes)
    for i, a in enumerate(found):
        assert a[0] >= 0
        assert a[1] >= 0
        assert a[2] <= 320
        assert a[3] <= 240
        assert not any(overlapping(a, b) for b in found[:i])


def test_a_label_is_above_its_box_where_there_is_room():
    assert place_labels(np.array([[50, 100, 90, 200]]), [[(20, 60)]], (240, 320))[0].y == 100 - 20 - 1
    inside = place_labels(np.array([[50, 0, 90, 200]]), [[(20, 60)]], (240, 320))[0]
    assert inside.y >= 0


def test_people_close_together_all_get_a_label():
    xyxy = np.array([[40 + 30 * i, 80, 75 + 30 * i, 200] for i in range(6)], np.float32)
    sizes = [[(54, 90), (36, 90), (18, 30)]] * 6
    assert all(place is not None for place in place_labels(xyxy, sizes, (240, 320)))


def test_a_label_that_cannot_fit_is_left_out():
    assert place_labels(np.array([[0, 0, 5, 5]]), [[(50, 50)]], (20, 20)) == [None]


def test_drawing_leaves_the_picture_as_it_was():
    update = an_update([[50, 50, 150, 200]], [[0.9, 0.1, 0.6]], untrained=True)
    before = update.frame.image.copy()
    drawn = draw_update(update, LIMITS)
    assert np.array_equal(update.frame.image, before)
    assert drawn.shape == before.shape
    assert drawn.dtype == np.uint8
    assert not np.array_equal(drawn, before)


def test_a_box_is_drawn_on_its_edges_in_its_track_s_colour():
    update = an_update([[50, 60, 150, 200]], [[0, 0, 0]], ids=[3], grey=0)
    drawn = draw_update(update, LIMITS, status_line=False)
    for y, x in [(130, 50), (130, 150), (200, 100), (60, 140)]:
        np.testing.assert_allclose(drawn[y, x], colour_of(3), atol=25)  # lines are smoothed
    assert drawn[130, 100].max() == 0


def test_a_box_of_somebody_whom_the_newest_look_did_not_see_is_dashed():
    update = an_update([[50, 60, 150, 200]], [[0, 0, 0]], ids=[3], grey=0)
    coasting = dataclasses.replace(update, boxes=dataclasses.replace(update.boxes, coasting=np.array([True])))
    whole, dashed = (draw_update(u, LIMITS, status_line=False)[60:201, 50].max(1) > 0 for u in (update, coasting))
    assert whole.all()
    assert 0.3 < dashed.mean() < 0.7


def test_lines_of_text_are_actions_over_threshold_best_first():
    update = an_update([[0, 0, 9, 9], [20, 0, 29, 9]], [[0.6, 0.9, 0.4], [np.nan] * 3], ids=[4, -1])
    assert action_lines(update, LIMITS) == [
        (("#4", ""), ("stand", "0.90"), ("sit", "0.60")), (("person …", ""),),
    ]
    assert action_lines(update, LIMITS, actions_shown={0})[0] == (("#4", ""), ("sit", "0.60"))
    assert len(action_lines(update, LIMITS, max_actions=1)[0]) == 2


def test_actions_learnt_from_renders_only_carry_a_star():
    update = an_update([[0, 0, 9, 9]], [[0.6, 0.9, 0.4]], model=tiny_model(works_on_real_video=("stand",)))
    assert [words for words, _ in action_lines(update, LIMITS)[0]] == ["#1", "stand", "sit*"]


@pytest.mark.parametrize("grey", [0, 255])
def test_text_is_readable_on_light_and_on_dark(grey):
    update = an_update([[100, 100, 200, 200]], [[0.9, 0.9, 0.9]], grey=grey)
    drawn = draw_update(update, LIMITS, status_line=False)
    label = drawn[40:100, 100:180].mean(axis=2)
    dark, light = np.percentile(label, [10, 99])
    assert light - dark > 120


def test_a_score_of_nan_shows_nothing():
    assert shown_actions(np.array([np.nan] * 3), np.zeros(3)) == []
    assert shown_actions(np.array([0.5, 0.2, 0.5]), np.full(3, 0.5)) == [0, 2]


def test_status_line_says_rates_delays_engine_and_drops():
    status = Status(camera_fps=29.97, clips_per_s=1.44, look_ahead_s=0.97, compute_s=0.66, engine="openvino bf16",
                    drops=Drops(4, 9))
    text = " | ".join(status_parts(status, 0))
    for words in ("30 fps", "1.4 clips/s", "1.0 s look-ahead + 0.7 s compute", "openvino bf16", "4 frames dropped"):
        assert words in text


def test_status_of_a_file_is_the_same_in_every_run():
    first = status_parts(Status(live=False, engine="e", camera_fps=10, clips_per_s=3), 61.26)
    second = status_parts(Status(live=False, engine="e", camera_fps=99, clips_per_s=1), 61.26)
    assert first == second == ["1:01.3", "e"]


@pytest.mark.parametrize("shape", [(1, 1), (10, 300), (300, 10), (240, 320), (1080, 1920)])
def test_any_size_of_picture_can_be_drawn_on(shape):
    h, w = shape
    update = an_update([[-5, -5, w + 5, h + 5], [w / 2, h / 2, w, h]], [[0.9] * 3] * 2, shape=shape, untrained=True,
                       status=Status(False, "camera offline: it fell silent; next attempt in 4 s"))
    assert draw_update(update, LIMITS).shape == (h, w, 3)


def test_an_offline_camera_is_said_on_the_picture():
    image = np.full((240, 320, 3), 90, np.uint8)
    assert np.array_equal(draw_status(image, Status())[:60], image[:60])
    assert not np.array_equal(draw_status(image, Status(False, "camera offline"))[:20], image[:20])


def test_the_watermark_crosses_the_picture():
    image = np.full((240, 320, 3), 128, np.uint8)
    changed = (draw_watermark(image) != image).any(axis=2)
    assert changed[:, :80].any()
    assert changed[:, 240:].any()


def test_nobody_is_an_ordinary_picture():
    image = np.zeros((50, 50, 3), np.uint8)
    assert np.array_equal(draw_people(image, Boxes.empty(), []), image)
    with pytest.raises(ValueError, match="expected a picture"):
        draw_update(an_update(np.zeros((0, 4)), [], frame=None), LIMITS)


def test_lines_of_text_are_steady():
    steady = SteadyRows(((2,), ()), LIMITS)
    update = an_update([[0, 0, 9, 9], [20, 0, 29, 9]], [[0.6, 0.9, 0.4]] * 2, steady=steady)
    assert action_lines(update, LIMITS) == [(("#1", ""), ("walk", "0.40")), (("#2 –", ""),)]
    assert action_lines(update.only(np.array([False, True])), None) == [(("#2 –", ""),)]


@pytest.mark.parametrize(("width", "form"), [(640, 0), (140, 1)])
def test_the_meaning_of_a_star_is_told_on_narrow_pictures_too(monkeypatch, width, form):
    said = []
    monkeypatch.setattr(overlay, "panel", lambda rows, *args, **options: said.append(rows[0][0]) or panel(
        rows, *args, **options))
    update = an_update(np.zeros((0, 4)), [], shape=(240, width), model=tiny_model(works_on_real_video=("stand",)))
    draw_update(update, LIMITS)
    assert said[-1].endswith(overlay.UNPROVEN[form])
