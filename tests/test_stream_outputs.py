"""What is written: its form, that it is complete, and that it survives whatever happens."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import number_of, numbered_picture
from stream_fakes import LABELS, tiny_model

from detector.errors import UserError
from detector.types import Boxes, Detections
from stream.outputs.ava_csv import AvaCsv
from stream.outputs.film import Mp4Writer
from stream.outputs.json_lines import JsonLines
from stream.results import Drops, KeyFrameResult, SteadyRows, Timings, result_to_json, thresholds_for
from stream.sources.decode import open_video

LIMITS = np.array([0.5, 0.5, 0.8], np.float32)


def a_result(**changes) -> KeyFrameResult:
    """Two people; the first stands (0.9) and sits (0.6), the second does nothing over its threshold."""
    boxes = Boxes([[10, 20, 110.26, 220], [0, 0, 50, 50]], [0.97, 0.5], [7, -1])
    scores = np.array([[0.6, 0.9, 0.7], [0.1, 0.2, 0.001]], np.float32)
    values = {
        "source": "door.mp4", "frame_index": 48, "time_s": 2.0004, "due_s": 2.0, "size_hw": (400, 500),
        "detections": Detections(boxes, scores), "model": tiny_model(), "timings": Timings(1.0, 0.65),
        "drops": Drops(2, 3),
    }
    return KeyFrameResult(**(values | changes))


def test_json_is_schema_1():
    assert result_to_json(a_result(), LIMITS) == {
        "schema": 1, "source": "door.mp4", "time_s": 2.0, "frame": 48, "size": [500, 400],
        "people": [
            {"id": 7, "box": [10.0, 20.0, 110.3, 220.0], "score": 0.97,
             "actions": [{"id": 12, "name": "stand", "score": 0.9, "proven": True},
                         {"id": 11, "name": "sit", "score": 0.6, "proven": True}]},
            {"id": -1, "box": [0.0, 0.0, 50.0, 50.0], "score": 0.5, "actions": []},
        ],
        "model": "tiny", "untrained": False, "look_ahead_s": 1.0, "compute_s": 0.65,
        "drops": {"frames": 2, "clips": 3},
    }


def test_all_scores_lists_every_class_best_first():
    people = result_to_json(a_result(), LIMITS, all_scores=True)["people"]
    assert [[a["id"] for a in p["actions"]] for p in people] == [[12, 14, 11], [12, 11, 14]]


def test_random_weights_are_said_in_each_line():
    assert result_to_json(a_result(untrained=True), LIMITS)["untrained"] is True


def test_live_lines_carry_the_moment_of_capture():
    assert result_to_json(a_result(captured_utc=0.5), LIMITS)["utc"] == "1970-01-01T00:00:00.500Z"


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    sink = JsonLines(tmp_path / "new" / "out.jsonl", LIMITS)
    sink.write(a_result())
    line = (tmp_path / "new" / "out.jsonl").read_text(encoding="utf-8")
    assert line.endswith("\n")
    assert json.loads(line)["frame"] == 48
    sink.close()
    sink.close()
    with pytest.raises(ValueError, match="is closed"):
        sink.write(a_result())


def test_ava_csv_has_the_eight_columns_of_the_evaluator(tmp_path):
    sink = AvaCsv(tmp_path / "out.csv")
    sink.write(a_result(source="a, b.mp4"))
    sink.write(a_result(due_s=902.5))
    sink.close()
    rows = list(csv.reader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert rows[0] == ["a, b", "0002", "0.0200", "0.0500", "0.2205", "0.5500", "11", "0.6000"]
    assert [row[6] for row in rows[:5]] == ["11", "12", "14", "11", "12"]  # 0.001 says nothing
    assert rows[5][:2] == ["door", "0902.500"]


@pytest.mark.parametrize("kind", [lambda p: JsonLines(p, LIMITS), AvaCsv, Mp4Writer])
def test_an_output_that_cannot_be_written_is_one_line(tmp_path, kind):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        kind(tmp_path / "file" / "out.mp4")


@pytest.mark.parametrize(("settings", "expected"), [
    ((), [0.7, 0.3, 0.7]), (("0.5",), [0.5, 0.5, 0.5]), (("0.5", "walk=0.6"), [0.5, 0.5, 0.6]),
    (("walk=0.6", "12=1"), [0.7, 1.0, 0.6]),
])
def test_thresholds_are_the_defaults_changed_in_order(settings, expected):
    np.testing.assert_allclose(thresholds_for(LABELS, settings), expected)


@pytest.mark.parametrize("setting", ["high", "1.5", "walk=", "walk=-1", "walk=nan", "swim=0.5", ""])
def test_a_threshold_that_makes_no_sense_is_one_line(setting):
    with pytest.raises(UserError):
        thresholds_for(LABELS, (setting,))


def read(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]


def test_mp4_is_what_browsers_play_and_keeps_times(tmp_path):
    path = tmp_path / "new" / "out.mp4"
    writer = Mp4Writer(path, fps=10, crf=10)
    times_s = [5.0, 5.1, 5.4, 5.5, 7.0]
    for number, time_s in enumerate(times_s):
        writer.write(numbered_picture(number), time_s)
    writer.close()
    writer.close()
    frames = read(path)
    assert [t for t, _ in frames] == pytest.approx([0, 0.1, 0.4, 0.5, 2.0], abs=1e-4)
    assert [number_of(image) for _, image in frames] == list(range(5))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index is in front
    assert b"moof" not in data
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("size_hw", [(47, 61), (1, 1), (48, 61)])
def test_odd_sizes_are_padded(tmp_path, size_hw):
    writer = Mp4Writer(tmp_path / "odd.mp4", fps=10)
    writer.write(numbered_picture(3, size_hw), 0)
    writer.close()
    (_, image), = read(tmp_path / "odd.mp4")
    assert image.shape[:2] == (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)


def test_a_picture_of_another_size_is_fitted_into_the_first(tmp_path):
    writer = Mp4Writer(tmp_path / "out.mp4", fps=10, crf=5)
    writer.write(np.full((48, 64, 3), 100, np.uint8), 0)
    writer.write(np.full((128, 64, 3), 200, np.uint8), 0.1)
    writer.close()
    _, image = read(tmp_path / "out.mp4")[1]
    assert image.shape == (48, 64, 3)
    assert image[24, 32].mean() > 190
    assert image[24, 5].mean() < 20


def test_times_that_repeat_do_not_break_the_file(tmp_path):
    writer = Mp4Writer(tmp_path / "out.mp4", fps=10)
    for number, time_s in enumerate([0, 0.1, 0.1, 0.05, 0.2]):
        writer.write(numbered_picture(number), time_s)
    writer.close()
    assert len(read(tmp_path / "out.mp4")) == 5


def test_nothing_written_leaves_no_file(tmp_path):
    Mp4Writer(tmp_path / "out.mp4").close()
    assert not (tmp_path / "out.mp4").exists()


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected \.mp4"):
        Mp4Writer(tmp_path / "out.avi")


FILM = """
    import resource, sys, time
    import numpy as np
    from stream.outputs.film import Mp4Writer
    writer = Mp4Writer(sys.argv[1], fps=10)
    for i in range(int(sys.argv[2])):
        writer.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8), i / 10)
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("pictures", [2, 5, 30])
def test_a_killed_process_leaves_all_but_its_last_picture(tmp_path, pictures):
    path = tmp_path / "killed.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FILM), str(path), str(pictures)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    try:
        assert process.stdout.readline() == "written\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert len(list(open_video(str(path)))) == pictures - 1


def write_noise(writer: Mp4Writer, pictures: int) -> None:
    for number in range(pictures):
        writer.write(np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8), number / 10)


def write_results(sink: JsonLines, count: int) -> None:
    for _ in range(count):
        sink.write(a_result())


@pytest.fixture
def small_disk(monkeypatch):
    """A function after which so many bytes fit on the disk."""

    def limit(most_bytes: int) -> None:
        real, left = os.write, [most_bytes]

        def write(fd: int, data: bytes) -> int:
            if fd < 3:
                return real(fd, data)
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = real(fd, data[: left[0]])
            left[0] -= done
            return done

        monkeypatch.setattr(os, "write", write)

    return limit


def test_a_full_disk_keeps_whole_pictures_and_says_how_many(tmp_path, small_disk):
    path = tmp_path / "full.mp4"
    small_disk(30_000)
    writer = Mp4Writer(path, fps=10)
    full = r"cannot be written any more \(No space left on device\); the \d+ pictures"
    with pytest.raises(UserError, match=full) as said:
        write_noise(writer, 90)
    writer.close()
    assert len(read(path)) == writer.pictures
    assert f"the {writer.pictures} pictures before that are kept and play" in str(said.value)
    assert 5 < writer.pictures < 60
    assert [p.name for p in tmp_path.iterdir()] == ["full.mp4"]


def test_a_disk_that_is_full_from_the_start_leaves_no_film(tmp_path, small_disk):
    small_disk(100)
    writer = Mp4Writer(tmp_path / "full.mp4", fps=10)
    with pytest.raises(UserError, match="nothing is kept"):
        write_noise(writer, 3)
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_last_picture_is_an_error_too(tmp_path, small_disk):
    with Mp4Writer(tmp_path / "probe.mp4", fps=10) as probe:
        write_noise(probe, 20)
        almost = (tmp_path / "probe.mp4").stat().st_size
    small_disk(almost + 10)
    writer = Mp4Writer(tmp_path / "full.mp4", fps=10)
    write_noise(writer, 20)
    with pytest.raises(UserError, match="the 19 pictures before that are kept"):
        writer.close()
    assert len(read(tmp_path / "full.mp4")) == 19


def test_without_room_for_the_index_all_pictures_stay_and_it_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "full.mp4"
    writer = Mp4Writer(path, fps=10)
    write_noise(writer, 20)
    real = av.open

    def open_(name, mode="r", **how):
        if mode == "w" and name.endswith(".part"):
            raise av.error.OSError(errno.ENOSPC, "No space left on device")
        return real(name, mode, **how)

    monkeypatch.setattr(av, "open", open_)
    with pytest.raises(UserError, match=r"could not be given its index \(No space left.*all 20 pictures are in it"):
        writer.close()
    monkeypatch.undo()
    assert len(read(path)) == 20
    assert [p.name for p in tmp_path.iterdir()] == ["full.mp4"]


def test_a_film_that_is_there_is_kept(tmp_path):
    for expected in ("film.mp4", "film-2.mp4", "film-3.mp4"):
        with Mp4Writer(tmp_path / "film.mp4", fps=10) as writer:
            writer.write(numbered_picture(1), 0)
        assert writer.path.name == expected
    first = (tmp_path / "film.mp4").stat().st_ino
    with Mp4Writer(tmp_path / "film.mp4", fps=10, overwrite=True) as writer:
        assert (tmp_path / "film.mp4").stat().st_ino == first  # until there is something better
        writer.write(numbered_picture(1), 0)
        writer.write(numbered_picture(2), 0.1)
    assert len(read(tmp_path / "film.mp4")) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_two_that_begin_at_once_write_two_films(tmp_path):
    writers = [Mp4Writer(tmp_path / "film.mp4", fps=10) for _ in range(2)]
    for writer in writers:
        writer.write(numbered_picture(1), 0)
    for writer in writers:
        writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film-2.mp4", "film.mp4"]


@pytest.mark.parametrize("name", ["n" * 246 + ".mp4", "a:b.mp4", "caf\udce9.mp4", "%d.mp4"])
def test_films_of_any_name(tmp_path, name):
    with Mp4Writer(tmp_path / name, fps=10) as writer:
        writer.write(numbered_picture(1), 0)
    assert len(list(open_video(tmp_path / name))) == 1
    assert b"moof" not in (tmp_path / name).read_bytes()


def test_in_a_hurry_a_long_film_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.outputs.film.HURRY_BYTES", 1000)
    writer = Mp4Writer(tmp_path / "long.mp4", fps=10)
    write_noise(writer, 20)
    writer.close(in_a_hurry=True)
    assert b"moof" in (tmp_path / "long.mp4").read_bytes()
    assert len(read(tmp_path / "long.mp4")) == 20


def test_lines_are_appended_and_nothing_is_lost_on_a_full_disk(tmp_path, small_disk):
    path = tmp_path / "o.jsonl"
    with JsonLines(path, LIMITS) as sink:
        sink.write(a_result())
    size = path.stat().st_size
    small_disk(2 * size + 50)
    sink = JsonLines(path, LIMITS)
    with pytest.raises(UserError, match=r"cannot be written any more \(No space left on device\)"):
        write_results(sink, 5)
    sink.close()
    assert [json.loads(line)["frame"] for line in path.read_text(encoding="utf-8").splitlines()] == [48] * 3


@pytest.mark.parametrize(("kind", "left", "kept"), [
    (lambda p: JsonLines(p, LIMITS), '{"a": 1}\n{"b": 2', '{"a": 1}\n'),
    (lambda p: JsonLines(p, LIMITS), '{"a": 1}\n{"b": 2}', '{"a": 1}\n{"b": 2}\n'),
    (lambda p: JsonLines(p, LIMITS), '{"torn', ""),
    (lambda p: JsonLines(p, LIMITS), "", ""),
    (AvaCsv, "d,0001,0,0,1,1,12,0.5000\nd,0001,0,0,1,1,13,0.5", "d,0001,0,0,1,1,12,0.5000\n"),
    (AvaCsv, "d,0001,0,0,1,1,12,0.5000", "d,0001,0,0,1,1,12,0.5000\n"),
])
def test_a_torn_last_line_is_healed(tmp_path, kind, left, kept):
    path = tmp_path / "o"
    path.write_text(left, encoding="utf-8")
    sink = kind(path)
    sink.write(a_result())
    sink.close()
    text = path.read_text(encoding="utf-8")
    assert text.startswith(kept)
    assert len(text) > len(kept)
    new = text[len(kept):]
    assert new.startswith(("{", "door,"))
    assert new.endswith("\n")


def test_dev_full_is_one_line(capsys):
    sink = JsonLines("/dev/full", LIMITS)
    with pytest.raises(UserError, match="/dev/full: cannot be written any more"):
        sink.write(a_result())
    sink.close()


def test_lines_for_an_ascii_terminal_are_still_json(monkeypatch):
    import io

    taken = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", taken)
    JsonLines("-", LIMITS).write(a_result(source="Tür \U0001f6aa.mp4"))
    AvaCsv("-").write(a_result(source="Tür.mp4"))
    first, *rest = taken.buffer.getvalue().decode("ascii").splitlines()
    assert json.loads(first)["source"] == "Tür \U0001f6aa.mp4"
    assert len(rest) > 1


def test_an_action_that_is_not_proven_on_real_video_says_so():
    result = a_result(model=tiny_model(works_on_real_video=("sit",)))
    first = result_to_json(result, LIMITS)["people"][0]["actions"]
    assert [(a["name"], a["proven"]) for a in first] == [("stand", False), ("sit", True)]
    everything = result_to_json(result, LIMITS, all_scores=True)["people"][1]["actions"]
    assert [a["proven"] for a in everything] == [False, True, False]
    untrained = result_to_json(a_result(untrained=True), LIMITS)["people"][0]["actions"]
    assert not any(a["proven"] for a in untrained)


def test_what_is_said_is_steady_unless_other_thresholds_are_asked_for():
    result = a_result(steady=SteadyRows(((0,), (2,)), LIMITS))
    said = [[a["name"] for a in p["actions"]] for p in result_to_json(result, LIMITS)["people"]]
    assert said == [["sit"], ["walk"]]
    assert [[a.name for a in p.actions] for p in result.people()] == said
    hidden = np.where(np.arange(3) == 0, np.inf, LIMITS)
    assert [[a.name for a in p.actions] for p in result.people(hidden)] == [[], ["walk"]]
    assert [[a.name for a in p.actions] for p in result.people(np.full(3, 0.55))] == [["stand", "walk", "sit"], []]


def test_some_of_the_people_keep_what_is_said_of_them():
    result = a_result(steady=SteadyRows(((0,), (2,)), LIMITS)).only(np.array([False, True]))
    assert [[a.name for a in p.actions] for p in result.people()] == [["walk"]]


def test_thresholds_are_the_models_own_and_what_is_too_often_wrong_is_hidden():
    model = tiny_model(thresholds=(0.4, 0.5, 0.6), not_shown=("walk",))
    np.testing.assert_allclose(thresholds_for(model), [0.4, 0.5, np.inf])
    np.testing.assert_allclose(thresholds_for(model, all_classes=True), [0.4, 0.5, 0.6])
    np.testing.assert_allclose(thresholds_for(model, ("0.2",)), [0.2, 0.2, np.inf])
    np.testing.assert_allclose(thresholds_for(model, ("walk=0.3",)), [0.4, 0.5, 0.3])
