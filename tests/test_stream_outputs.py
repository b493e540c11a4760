"""What is written: its form, that it is complete, and that it survives whatever happens."""

import csv
import json
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
from stream.results import Drops, KeyFrameResult, Timings, result_to_json, thresholds_for
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
             "actions": [{"id": 12, "name": "stand", "score": 0.9}, {"id": 11, "name": "sit", "score": 0.6}]},
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
    path = tmp_path / "deep" / "out.mp4"
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


def test_a_killed_process_leaves_a_file_that_plays(tmp_path):
    program = textwrap.dedent("""
        import sys, time
        import numpy as np
        from stream.outputs.film import Mp4Writer
        writer = Mp4Writer(sys.argv[1], fps=10)
        for i in range(200):
            writer.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8), i / 10)
        print("written", flush=True)
        time.sleep(60)
    """)
    path = tmp_path / "killed.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    try:
        assert process.stdout.readline() == "written\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    # What waits in the encoder and the last fragment may be lost, the rest is there.
    assert len(list(open_video(str(path)))) >= 100
