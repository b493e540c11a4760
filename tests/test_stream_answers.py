"""Labels over time, delays, rates and figures: pure parts, by the clock that the test hands in."""

import subprocess
import sys

import numpy as np
import pytest
from stream_fakes import an_answer, tiny_model

from detector.labels import Action, LabelMap
from detector.types import Boxes, Frame
from stream.answers import AnswerBoard
from stream.delay import DelayLine, SyncDelay
from stream.metrics import Beat, Rate, Spread
from stream.results import Drops, Status, Update
from stream.stats import Stats

ONE = LabelMap("one", (Action(1, "wait"),))


def boxes(*ids):
    return Boxes(np.zeros((len(ids), 4)), np.ones(len(ids)), ids)


def board(*answers, **options):
    made = AnswerBoard(ONE, np.full(1, 0.5), **({"smooth_s": 0} | options))
    for time_s, track_id, score in answers:
        made.add(time_s, an_answer(track_id, score))
    return made


def test_what_is_said_of_a_track_is_that_of_its_nearest_answer_and_nobody_elses():
    made = board((1.0, 5, 0.1), (2.0, 5, 0.9))
    assert made.said(boxes(5, 6, -1), 1.4).columns == ((), (), ())
    assert made.said(boxes(5, 6, -1), 1.6).columns == ((0,), (), ())


def test_a_higher_threshold_takes_back_what_was_said():
    made = board((1.0, 5, 0.9))
    made.thresholds = np.full(1, 0.95)
    assert made.said(boxes(5), 1.0).columns == ((),)


def test_a_clip_of_repeated_frames_says_nothing():
    made = AnswerBoard(ONE, np.full(1, 0.5), smooth_s=0)
    assert made.add(0.0, an_answer(5, 0.9), filled=0.5).columns == ((),)
    assert made.add(0.2, an_answer(5, 0.9), filled=0.2).columns == ((0,),)
    assert made.add(0.4, an_answer(5, 0.1), filled=0.5).columns == ((0,),)


def test_a_label_belongs_to_its_track_and_to_the_nearest_time():
    made = board((1.0, 5, 0.1), (2.0, 5, 0.9))
    assert made.scores(boxes(5, 6, -1), 1.4)[:, 0] == pytest.approx([0.1, np.nan, np.nan], nan_ok=True)
    assert made.scores(boxes(5), 1.6)[0, 0] == pytest.approx(0.9)
    # A live picture is newer than every answer.
    assert made.scores(boxes(5), 3.9)[0, 0] == pytest.approx(0.9)


def test_smoothing_is_by_time_not_by_count():
    made = board((0, 1, 0.0), (0.4, 1, 1.0), smooth_s=0.4)
    assert made.scores(boxes(1), 0.4)[0, 0] == pytest.approx(1 - np.exp(-1))
    twice = board((0, 1, 0.0), (0.2, 1, 1.0), (0.4, 1, 1.0), smooth_s=0.4)
    assert twice.scores(boxes(1), 0.4)[0, 0] == pytest.approx(1 - np.exp(-1))


def test_a_label_goes_when_newer_answers_leave_the_person_out():
    made = board((1.0, 1, 0.9), (2.0, 2, 0.9), (3.5, 2, 0.9), hold_s=2.0)
    assert np.isnan(made.scores(boxes(1), 3.6)[0, 0])
    assert made.scores(boxes(2), 3.6)[0, 0] == pytest.approx(0.9)


def test_a_label_stays_while_a_slow_engine_computes_but_not_for_ever():
    made = board((1.0, 1, 0.9), hold_s=2.0, stale_s=10.0)
    assert made.scores(boxes(1), 9.0)[0, 0] == pytest.approx(0.9)
    assert np.isnan(made.scores(boxes(1), 12.0)[0, 0])


def test_memory_of_answers_is_bounded():
    made = AnswerBoard(ONE, np.full(1, 0.5), history_s=10)
    for i in range(10_000):
        made.add(i / 10, an_answer(i // 50, 0.5))
    assert len(made._tracks) <= 4
    assert sum(map(len, made._tracks.values())) <= 102


def test_synced_delay_covers_the_slowest_answer_and_shrinks_slowly():
    delay = SyncDelay(look_ahead_s=1.0, first_guess_s=1.0, shrink_per_s=0.05)
    assert delay.seconds == 2.0
    delay.answered(age_s=3.0, gap_s=1.0, now_s=0.0)
    assert delay.seconds == 3.5
    for i in range(1, 13):
        delay.answered(age_s=1.5, gap_s=1.0, now_s=float(i))
    assert 2.0 < delay.seconds < 3.5
    assert delay.seconds == pytest.approx(3.5 - 0.05 * 3, abs=0.11)


def test_waiting_pictures_are_packed_beyond_the_budget_and_come_back_in_order():
    line = DelayLine(max_bytes=2 * 48 * 64 * 3)
    for i in range(6):
        line.append(Frame(np.full((48, 64, 3), 20 * i, np.uint8), i, i / 10, 100 + i))
    assert line.nbytes < 3 * 48 * 64 * 3
    out = [line.pop() for _ in range(6)]
    assert [f.index for f in out] == list(range(6))
    assert [f.captured_s for f in out] == [100 + i for i in range(6)]
    for i, frame in enumerate(out):
        assert abs(float(frame.image.mean()) - 20 * i) <= 1
    assert line.nbytes == 0


@pytest.mark.parametrize(("times_s", "now_s", "expected"), [
    ([], 1.0, 0.0), ([1.0], 1.0, 0.0), ([1.0, 1.1], 1.1, 10.0), (np.arange(0, 5, 0.1), 4.9, 10.0),
    ([0.0, 5.0], 5.0, 0.2), (np.arange(0, 5, 0.1), 60.0, pytest.approx(0.0, abs=0.2)),
])
def test_rate_is_of_the_last_seconds_and_falls_when_events_stop(times_s, now_s, expected):
    rate = Rate(window_s=3.0)
    for time_s in times_s:
        rate.tick(float(time_s))
    assert rate.per_second(now_s) == pytest.approx(expected)


@pytest.mark.parametrize(("fps", "every_s", "per_second"), [
    (24, 0.1, 10), (25, 0.1, 10), (30, 0.1, 10), (29.97, 0.1, 10), (10, 0.1, 10), (7, 0.1, 7), (24, 1.0, 1),
])
def test_a_beat_keeps_its_rate_whatever_the_frame_rate(fps, every_s, per_second):
    beat = Beat(every_s)
    taken = [i for i in range(int(20 * fps)) if beat.take(1000 + i / fps) is not None]
    assert len(taken) == pytest.approx(20 * per_second, abs=1)
    gaps = np.diff(taken) / fps
    assert gaps.max() - gaps.min() < 1 / fps + 1e-6


def test_a_beat_counts_what_it_missed_and_does_not_catch_up():
    beat = Beat(0.1)
    assert [beat.take(t) for t in (5.0, 5.05, 5.1, 5.45, 5.46, 5.5)] == [0, None, 0, 2, None, 0]


def test_quantiles_are_of_the_last_values():
    spread = Spread(keep=5)
    assert spread.quantile(0.5) == 0.0
    for value in [100, 1, 2, 3, 4, 5]:
        spread.add(value)
    assert (spread.quantile(0.5), spread.quantile(1.0), len(spread)) == (3.0, 5.0, 5)


def test_memory_in_use_grows_with_what_is_held():
    # In a process of its own: here, memory that earlier tests gave back may be handed out again.
    code = (
        "import numpy as np; from stream.metrics import resident_bytes; before = resident_bytes(); "
        "held = np.ones(40_000_000, np.uint8); print(resident_bytes() - before)"
    )
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 30_000_000 < int(grown) < 60_000_000


def test_figures_of_a_run():
    stats = Stats()
    for i in range(101):
        frame = Frame(np.zeros((2, 2, 3), np.uint8), i, i / 10)
        status = Status(drops=Drops(frames=min(i, 4), clips=7))
        update = Update(frame, i / 10, Boxes.empty(), np.zeros((0, 3)), status, tiny_model())
        stats.add(update, now_s=50 + i, memory_bytes=1_000_000 if i < 80 else 1_010_000)
    report = stats.report()
    assert report["frames_drawn"] == 101
    assert report["frames_dropped"] == 4
    assert report["frames_drawn_percent"] == pytest.approx(100 * 101 / 105, abs=0.01)
    assert report["drawn_fps"] == 1.0
    assert report["memory_growth_percent"] == 1.0
    assert "96.2 %" in stats.summary(live=True)
