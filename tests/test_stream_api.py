"""`import stream` as programs use it: answers, pictures, rows, supervision; the examples of the docstrings run."""

from __future__ import annotations

import inspect
import itertools
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest
from stream_fakes import FakeTracker, ListSource, fake_session, grey_frames, tiny_model

import stream
from detector.errors import UserError
from detector.person import ssdlite_graph
from detector.types import Boxes, Detections
from detector.weights.choose import bundled_path
from stream import api
from stream.handoff import Closed
from stream.results import KeyFrameResult

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def session(monkeypatch):
    """A session of fakes, which `open_session` gives too."""
    monkeypatch.setattr("detector.tracking.Tracker", FakeTracker)
    made, _, _ = fake_session()
    monkeypatch.setattr(api, "open_session", lambda **chosen: made)
    yield made
    made.close()


def an_answer(**changes) -> KeyFrameResult:
    """Two people; the first stands (0.9) and sits (0.75), the second does nothing over its threshold."""
    boxes = Boxes([[10, 20, 110.5, 220], [0, 0, 50, 50]], [0.97, 0.5], [7, -1])
    scores = np.array([[0.75, 0.9, 0.1], [0.1, 0.2, 0.001]], np.float32)
    values = {
        "source": "door.mp4", "frame_index": 48, "time_s": 2.0, "due_s": 2.0, "size_hw": (400, 500),
        "detections": Detections(boxes, scores), "model": tiny_model(),
    }
    return KeyFrameResult(**(values | changes))


def nobody() -> KeyFrameResult:
    return an_answer(detections=Detections(Boxes.empty(), np.zeros((0, 3), np.float32)))


def test_watch_gives_every_key_frame_and_closes_what_it_opened(session, write_video):
    answers = list(stream.watch(write_video(frames=25, fps=10)))
    assert [a.frame_index for a in answers] == [0, 10, 20]
    assert [p.track_id for p in answers[0].people(np.zeros(3))] == [1]
    with pytest.raises(Closed):
        session.load_detector()


def test_a_session_that_was_passed_stays_open(session):
    for _ in range(2):
        source = ListSource(grey_frames(12))
        assert len(list(stream.watch(source, session=session, every_s=0.5))) == 3
        assert source.closed.is_set()
    assert session.load_detector() is not None


def test_leaving_the_loop_closes_the_source(session):
    source = ListSource(grey_frames(200))
    for _ in stream.watch(source, session=session):
        break
    assert source.closed.wait(5)


def test_seconds_end_both_loops(session):
    assert [a.time_s for a in stream.watch(ListSource(grey_frames(60)), session=session, seconds=2)] == [0.0, 1.0]
    shown = list(stream.watch_pictures(ListSource(grey_frames(60)), session=session, seconds=2))
    assert [u.frame.index for u in shown] == list(range(20))


def test_pictures_carry_each_answer_once_and_can_be_drawn_without_more(session):
    updates = list(stream.watch_pictures(ListSource(grey_frames(30)), session=session))
    assert [u.frame.index for u in updates] == list(range(30))
    assert [a.frame_index for u in updates for a in u.results] == [0, 10, 20]
    drawn = stream.draw_update(updates[5])
    assert drawn.shape == (48, 64, 3)
    assert (drawn != updates[5].frame.image).any()


def test_a_session_and_its_options_together_are_a_mistake(session):
    with pytest.raises(TypeError, match="model: got these and a session"):
        next(stream.watch("sample", session=session, model="bundled"))


@pytest.mark.parametrize("source", ["nope.mp4", Path("nope.mp4")])
def test_a_missing_source_is_told_before_a_session_is_opened(monkeypatch, source):
    monkeypatch.setattr(api, "open_session", lambda **chosen: pytest.fail("opened"))
    with pytest.raises(stream.UserError, match=r"nope\.mp4"):
        next(stream.watch(source))


def test_people_are_plain_values_best_action_first():
    first, second = an_answer().people()
    assert (first.track_id, first.box, second.track_id, second.actions) == (7, (10.0, 20.0, 110.5, 220.0), -1, ())
    assert [(a.id, a.name, round(a.score, 2)) for a in first.actions] == [(12, "stand", 0.9), (11, "sit", 0.75)]
    assert type(first.score) is type(first.box[0]) is type(first.actions[0].score) is float
    assert [len(p.actions) for p in an_answer().people(np.full(3, 0.95))] == [0, 0]
    assert nobody().people() == ()


def test_rows_are_flat_and_nobody_is_lost():
    rows = an_answer().to_rows()
    assert [(r["track_id"], r["action"]) for r in rows] == [(7, "stand"), (7, "sit"), (-1, None)]
    assert {frozenset(r) for r in rows} == {frozenset(rows[0])}
    assert (rows[0]["x1"], rows[0]["y2"], rows[0]["time_s"], rows[0]["frame"]) == (10.0, 220.0, 2.0, 48)
    assert len(an_answer().to_rows(all_scores=True)) == 6
    assert nobody().to_rows() == []
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(rows)["action_score"].isna().tolist() == [False, False, True]


def test_the_dictionary_is_the_json_line():
    assert an_answer().to_dict()["people"][0]["actions"][0] == {
        "id": 12, "name": "stand", "score": 0.9, "proven": True
    }
    assert len(an_answer().to_dict(all_scores=True)["people"][1]["actions"]) == 3


def test_supervision_gets_boxes_ids_and_the_best_action():
    supervision = pytest.importorskip("supervision")
    found = an_answer().to_supervision()
    assert found.xyxy.tolist() == [[10, 20, 110.5, 220], [0, 0, 50, 50]]
    assert (found.class_id.tolist(), found.tracker_id.tolist()) == ([12, -1], [7, -1])
    assert found["class_name"].tolist() == ["stand", "person"]
    assert found["action_scores"].shape == (2, 3)
    assert found[found.class_id == 12].tracker_id.tolist() == [7]
    picture = np.zeros((400, 500, 3), np.uint8)
    labels = supervision.LabelAnnotator().annotate(picture.copy(), found)
    assert supervision.BoxAnnotator().annotate(labels, found).any()
    assert len(nobody().to_supervision()) == 0


@pytest.mark.parametrize(("value", "says"), [
    (an_answer(), r"KeyFrameResult\(door.mp4 at 2.000 s: boxes \(2, 4\), scores \(2, 3\), #7 stand 0.90\)"),
    (nobody(), r"boxes \(0, 4\), scores \(0, 3\)\)"),
    (an_answer().detections, r"Detections\(Boxes\(xyxy \(2, 4\), track_id \[7, -1\]\), action_scores \(2, 3\)\)"),
    (Boxes(np.zeros((9, 4)), np.zeros(9), range(9)), r"Boxes\(xyxy \(9, 4\), track_id \[0, 1, 2, 3, 4, 5, \.\.\.\]\)"),
])
def test_what_is_printed_shows_shapes(value, says):
    assert re.search(says, repr(value))


def test_an_update_is_printed_with_its_shapes(session):
    update = next(stream.watch_pictures(ListSource(grey_frames(30)), session=session))
    assert repr(update) == (
        "Update(Frame(#0 at 0.000 s, 64x48) for 0.000 s: boxes (1, 4), scores (1, 3), 1 new answers)"
    )


def test_import_stream_loads_nothing_and_names_all():
    code = (
        "import sys, stream; assert not {'torch', 'cv2', 'numpy', 'av', 'supervision'} & set(sys.modules);"
        "assert dir(stream) == sorted(stream.__all__); [getattr(stream, n) for n in stream.__all__];"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        stream.nonsense  # noqa: B018


def examples() -> list[tuple[str, str]]:
    """(where, code) of each docstring's example."""
    found = []
    for name, documented in (
        ("stream", stream), ("api", api), ("watch", api.watch), ("watch_pictures", api.watch_pictures),
    ):
        lines = inspect.getdoc(documented).split("::\n", 1)[1].splitlines()
        block = itertools.takewhile(lambda line: not line or line.startswith("    "), lines)
        found.append((name, textwrap.dedent("\n".join(block))))
    return found


@pytest.mark.parametrize(("where", "code"), examples(), ids=[name for name, _ in examples()])
def test_the_examples_of_the_docstrings_run(where, code, tmp_path, monkeypatch, session, write_video):
    pytest.importorskip("pandas")
    write_video("party.mp4", frames=25, fps=10)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stream.session.open_session", lambda **chosen: session)
    exec(compile(code, where, "exec"), {})
    if "Mp4Writer" in code:
        with av.open("labelled.mp4") as film:
            assert sum(1 for _ in film.decode(video=0)) == 25


@pytest.mark.slow
@pytest.mark.ci
def test_the_sample_clip_is_watched_with_the_bundled_model():
    pytest.importorskip("openvino")
    if bundled_path() is None or ssdlite_graph.graph_path() is None:
        pytest.skip("needs the bundled model and the person graph")
    said: list[str] = []
    answers = list(stream.watch("sample", seconds=2, report=said.append))
    assert [a.time_s for a in answers] == pytest.approx([0, 1], abs=0.05)
    assert sum(len(a.people()) for a in answers) >= 2
    assert answers[0].model.name == "slowfast_rendered"


def test_errors_can_be_caught_by_the_door_s_name():
    assert stream.UserError is UserError
