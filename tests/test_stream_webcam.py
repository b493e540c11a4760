"""The command as a person uses it: what it prints, what it writes, what it does with mistakes. Networks are fakes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import av
import pytest
from stream_fakes import FakeDetector, FakeEngine, FakeTracker, fake_session

from detector.errors import UserError, run_command
from stream import pipeline, webcam
from stream.session import Session
from stream.sources.decode import ConnectionLost
from stream.sources.reconnect import LiveCamera

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run the command in an empty folder with fake networks and no display; gives the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webcam, "_display", lambda: False)
    monkeypatch.setattr("detector.tracking.Tracker", FakeTracker)
    fakes = {"detector": None, "engine": None}

    def session(*args, untrained=False, **kwargs) -> Session:
        made, _, _ = fake_session(fakes["detector"], fakes["engine"])
        made.untrained = untrained
        made.notices = ("people: fake",)
        return made

    monkeypatch.setattr(webcam, "open_session", session)

    def run(*words) -> int:
        return run_command(lambda: webcam.main([str(w) for w in words]))

    run.fakes = fakes
    return run


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def frames_in(path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_all_outputs_together(command, write_video, capsys):
    video = write_video(frames=25, fps=10)
    assert command("--source", video, "--output", "a/out.mp4", "--jsonl", "a/out.jsonl", "--ava-csv", "a/out.csv",
                   "--threshold", "0", "--all-scores") == 0
    assert frames_in("a/out.mp4") == 25
    lines = lines_of("a/out.jsonl")
    assert [line["frame"] for line in lines] == [0, 10, 20]
    assert all(line["people"][0]["id"] == 1 and len(line["people"][0]["actions"]) == 3 for line in lines)
    assert Path("a/out.csv").read_text().startswith("clip,0000,")
    said = capsys.readouterr()
    assert said.out == ""
    assert "25 frames and 3 key frames" in said.err
    assert "wrote a/out.mp4" in said.err


def test_without_display_and_outputs_it_writes_to_out_and_says_so(command, write_video, capsys):
    assert command("--source", write_video(frames=12)) == 0
    assert "no window here: writing out/clip.mp4 and out/clip.jsonl" in capsys.readouterr().err
    assert frames_in("out/clip.mp4") == 12
    assert len(lines_of("out/clip.jsonl")) == 2


def test_without_a_camera_the_bundled_clip_plays(command, monkeypatch, write_video, capsys):
    monkeypatch.setattr("stream.sources.SAMPLE", write_video(frames=12))

    def no_camera(spec):
        raise UserError(f"camera {spec}: not there")

    monkeypatch.setattr("stream.sources.open_camera", no_camera)
    assert command() == 0
    said = capsys.readouterr().err
    assert said.count("no camera") >= 1
    assert "playing the bundled clip instead" in said.splitlines()[0]
    assert frames_in("out/sample.mp4") == 12


def test_a_camera_that_was_asked_for_and_is_missing_is_an_error(command, capsys):
    assert command("--source", "77") == 2
    assert "error: camera 77: there is no /dev/video77" in capsys.readouterr().err


def test_json_lines_on_standard_output_are_all_there_is(command, write_video, capsys):
    assert command("--source", write_video(frames=12), "--jsonl", "-") == 0
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [0, 10]


def test_random_weights_are_said_on_every_line(command, write_video):
    assert command("--source", write_video(frames=12), "--jsonl", "o.jsonl", "--untrained") == 0
    assert [line["untrained"] for line in lines_of("o.jsonl")] == [True, True]


def test_live_file_is_drawn_whole(command, write_video, capsys):
    assert command("--source", write_video(frames=15, fps=30), "--live", "--output", "o.mp4") == 0
    assert "drawn 15 of 15 frames (100.0 %)" in capsys.readouterr().err
    assert frames_in("o.mp4") >= 15


def test_seconds_end_a_loop(command, write_video):
    assert command("--source", write_video(frames=10), "--loop", "--seconds", "2.5", "--jsonl", "o.jsonl") == 0
    assert lines_of("o.jsonl")[-1]["time_s"] <= 3.0


@pytest.mark.parametrize("part", ["detector", "engine"])
def test_what_was_written_before_an_error_is_kept(command, write_video, part):
    def boom(call):
        if call == (15 if part == "detector" else 3):
            raise OSError("boom")

    command.fakes[part] = FakeDetector(boom) if part == "detector" else FakeEngine(boom)
    with pytest.raises(OSError, match="boom"):
        command("--source", write_video(frames=60), "--output", "o.mp4", "--jsonl", "o.jsonl")
    assert len(lines_of("o.jsonl")) >= 2
    assert frames_in("o.mp4") >= 15
    assert not [t for t in threading.enumerate() if t.name.startswith(("read ", "analyse "))]


@pytest.mark.parametrize("words", [
    ["--every", "0"], ["--every", "nan"], ["--seconds", "-1"], ["--smooth", "-1"], ["--person-threshold", "7"],
    ["--all-scores"], ["--jsonl", "a", "--ava-csv", "a"], ["--source", "nope.mp4"], ["--source", "."],
    ["--source", "rtsp://u:secret@127.0.0.1:9/x"],
])
def test_a_mistake_is_one_line_and_exit_code_2(command, capsys, words):
    assert command(*words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert "secret" not in error[0]


@pytest.mark.parametrize("words", [
    ["--threshold", "swimming=0.5"], ["--threshold", "2"], ["--output", "o.avi"], ["--output", "{source}"],
])
def test_mistakes_about_outputs_and_thresholds(command, write_video, capsys, monkeypatch, words):
    of_three_actions(monkeypatch)
    video = write_video()
    size = video.stat().st_size
    assert command("--source", video, *(word.format(source=video) for word in words)) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert video.stat().st_size == size


def test_a_source_needs_no_option(command, write_video):
    assert command(write_video(frames=12), "--jsonl", "o.jsonl") == 0
    assert len(lines_of("o.jsonl")) == 2


@pytest.mark.parametrize(("words", "says"), [
    (["a.mp4", "--source", "b.mp4"], "a.mp4: got two sources, b.mp4 is the other"),
    ([""], "source: got an empty name"), (["--source", " "], "source: got an empty name"),
    (["a.mp4", "b.mp4"], "b.mp4: one word too many"),
    (["--treshold", "1"], "--treshold: unknown option; perhaps --threshold?"),
    (["--output", "new/deep/o.mp4"], "--output: there is no folder new to make deep in"),
    (["--output", "o.avi"], "--output o.avi: got a name ending in '.avi', expected .mp4, .m4v or .mov"),
    (["--jsonl", "."], "--jsonl .: is a folder"),
    (["--threshold", "=0.5"], "--threshold =0.5: expected a number"),
    (["--threshold", "walk=2"], "--threshold walk=2: expected a number"),
    (["--engine", "tensort"], "torch_cuda, tensorrt or tensorrt_rtx; perhaps tensorrt?"),
    (["--engine", "openvino", "--precision", "fp16"], "expected auto, fp32, bf16 or int8"),
    (["--model", "slowfast_8x8_r5"], "perhaps slowfast_8x8_r50"),
    (["--detector", "ssdlight"], "perhaps ssdlite?"),
    (["--device", "gpu"], "--device gpu: unknown, expected auto, cpu, cuda or cuda:N"),
])
def test_mistakes_come_before_the_source_and_the_models(command, capsys, monkeypatch, words, says):
    monkeypatch.setattr(webcam, "open_source", lambda *a, **k: pytest.fail("a source was opened"))
    monkeypatch.setattr(webcam, "open_session", lambda *a, **k: pytest.fail("a session was opened"))
    assert command(*words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
    assert not list(Path().iterdir()), "nothing was made"


def of_three_actions(monkeypatch, **changes):
    from stream_fakes import tiny_model

    model = tiny_model(**changes)
    monkeypatch.setattr("detector.weights.choose.resolve_action_model", lambda *a, **k: (model, None))


def test_an_unknown_action_names_the_model_s_own_nearest_first(command, capsys, monkeypatch):
    of_three_actions(monkeypatch)
    monkeypatch.setattr(webcam, "open_source", lambda *a, **k: pytest.fail("a source was opened"))
    assert command("--threshold", "wlak=0.5") == 2
    assert "action 'wlak': not one of the 3 actions of three; expected walk, sit or stand" in capsys.readouterr().err


def test_actions_are_listed_with_their_thresholds_and_what_is_proven(command, capsys, monkeypatch):
    of_three_actions(monkeypatch, works_on_real_video=("walk",))
    assert command("--list-actions", "--threshold", "stand=0.55") == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 actions of tiny, with the score that shows each:",
        "  11  0.70  sit  * not proven on real video",
        "  12  0.55  stand  * not proven on real video",
        "  14  0.70  walk",
    ]


@pytest.mark.parametrize("part", ["detector", "engine"])
def test_a_run_that_fails_leaves_the_files_of_an_earlier_one(command, write_video, part):
    def boom(call):
        raise UserError("it does not work here")

    for name in ("good.mp4", "good.jsonl", "good.csv"):
        Path(name).write_text("good")
    command.fakes[part] = FakeDetector(boom) if part == "detector" else FakeEngine(boom)
    video = write_video(frames=12)
    for stem in ("good", "new"):
        assert command(video, "--output", f"{stem}.mp4", "--jsonl", f"{stem}.jsonl", "--ava-csv", f"{stem}.csv") == 2
    assert {p.name: p.read_text() for p in Path().glob("good.*")} == dict.fromkeys(
        ("good.mp4", "good.jsonl", "good.csv"), "good"
    )
    assert not list(Path().glob("new.*"))


def test_nothing_is_told_to_be_written_that_is_not_there(command, write_video, capsys):
    def late(call):
        if call == 0:
            raise UserError("it does not work here")

    command.fakes["engine"] = FakeEngine(late)
    assert command(write_video(frames=12), "--output", "o.mp4", "--jsonl", "o.jsonl") == 2
    assert "wrote" not in capsys.readouterr().err


def test_a_live_run_without_pictures_tells_no_share_of_them(command, write_video, capsys):
    assert command(write_video(frames=15), "--live", "--jsonl", "o.jsonl") == 0
    said = capsys.readouterr().err
    assert "0 of 0" not in said
    assert "drawn" not in said
    assert " key frames, " in said


@pytest.mark.parametrize("outputs", [["--jsonl", "o.jsonl"], ["--output", "o.mp4"]])
def test_seconds_end_a_run_whose_camera_is_away_from_the_first_picture_on(command, monkeypatch, capsys, outputs):
    attempts = []

    class Gone:
        fps = 10.0

        def __iter__(self):
            raise ConnectionLost("door: it fell silent")

        def close(self):
            pass

    def connect():
        attempts.append(1)
        if len(attempts) > 1:
            raise UserError("door: no answer within 2 s")
        return Gone()

    camera = LiveCamera("door", connect)
    monkeypatch.setattr(webcam, "_open", lambda *args: camera)
    monkeypatch.setattr(webcam, "LAST_PICTURE_S", 0.1, raising=False)
    rescued = []
    rescue = threading.Timer(20, lambda: (rescued.append(1), camera.close()))
    rescue.start()
    assert command("rtsp://door/", *outputs, "--seconds", "0.2") == 0
    rescue.cancel()
    assert not rescued
    assert "door: offline: it fell silent" in capsys.readouterr().err


@pytest.mark.parametrize("prog", ["python -m stream.webcam", "slowfast-live", "slowfast-live watch"])
def test_help_names_the_command_as_it_was_called(prog):
    text = webcam.parser(prog).format_help()
    assert text.startswith(f"usage: {prog} [SOURCE] [options]")
    assert f"\n{prog} party.mp4 --output" in text


def test_help_fits_a_screen():
    text = webcam.parser().format_help()
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_a_polite_kill_end_with_files_closed(tmp_path, write_video, number):
    program = textwrap.dedent("""
        import signal, sys
        for number in (signal.SIGINT, signal.SIGHUP):  # a shell in the background ignores them for its children
            signal.signal(number, signal.default_int_handler)
        sys.path.insert(0, "tests")
        import detector.tracking
        from stream import webcam
        from stream_fakes import FakeTracker, fake_session
        detector.tracking.Tracker = FakeTracker
        webcam.open_session = lambda *a, **k: fake_session()[0]
        sys.argv[1:] = ["--source", sys.argv[1], "--live", "--loop", "--display", "none",
                        "--output", sys.argv[2], "--jsonl", "-", "--threshold", "0"]
        sys.exit(webcam.command())
    """)
    out = tmp_path / "o.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(write_video(frames=30)), str(out)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert json.loads(process.stdout.readline())["schema"] == 1
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert said.rstrip().endswith("stopped")
    assert "Traceback" not in said
    assert frames_in(out) >= 1
    assert b"moof" not in out.read_bytes()


def test_pipeline_exports_what_the_module_says():
    assert set(pipeline.__all__) == {"Options", "Pipeline"}


@pytest.mark.parametrize("option", ["--output", "--jsonl", "--ava-csv"])
@pytest.mark.parametrize("source", ["{film}", "file://{film}", "file://localhost{film}", "link.mp4", "./clip.mp4"])
def test_the_source_is_never_written_to(command, write_video, capsys, option, source):
    film = write_video(frames=5)
    before = film.read_bytes()
    Path("link.mp4").symlink_to(film)
    for name in (film, "link.mp4", "../" + film.parent.name + "/clip.mp4"):
        assert command("--source", source.format(film=film), option, name) == 2
    said = capsys.readouterr().err
    assert said.count("is the source itself") == 3
    assert "watching" not in said
    assert film.read_bytes() == before


def test_a_second_run_loses_nothing_of_the_first(command, write_video, capsys):
    film = write_video(frames=15, fps=10)
    words = ("--source", film, "--output", "o.mp4", "--jsonl", "o.jsonl", "--ava-csv", "o.csv", "--threshold", "0")
    assert command(*words) == 0
    lines, rows, first = lines_of("o.jsonl"), Path("o.csv").read_text(encoding="utf-8"), Path("o.mp4").read_bytes()
    capsys.readouterr()
    assert command(*words) == 0
    said = capsys.readouterr().err
    assert "o.jsonl is there already: new lines are appended" in said
    assert "o.mp4 is there already: writing o-2.mp4 (--overwrite replaces it)" in said
    assert "wrote o-2.mp4" in said
    assert lines_of("o.jsonl")[: len(lines)] == lines
    assert len(lines_of("o.jsonl")) == 2 * len(lines)
    assert Path("o.csv").read_text(encoding="utf-8") == rows * 2
    assert (Path("o.mp4").read_bytes(), frames_in("o-2.mp4")) == (first, 15)
    assert command(*words, "--overwrite", "--seconds", "0.5") == 0
    assert frames_in("o.mp4") < 15
    assert not Path("o-3.mp4").exists()


def test_what_is_missing_or_spoilt_is_said_at_the_end(command, write_video, capsys, tmp_path):
    film = write_video(frames=30, fps=10)
    with av.open(str(film)) as old, av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = (tmp_path / "f.mp4").read_bytes()
    (tmp_path / "f.mp4").write_bytes(data[: len(data) * 3 // 4])
    assert command("--source", "f.mp4", "--jsonl", "o.jsonl") == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "ends early, at " in line and "of 3.0 s" in line and line.startswith("f.mp4: ")]
    assert said[-1] == "wrote o.jsonl"


def test_a_write_error_is_one_line_and_nothing_false_is_said(command, write_video, capsys):
    assert command("--source", write_video(frames=25), "--jsonl", "/dev/full", "--output", "o.mp4") == 2
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("error:")] == [
        "error: /dev/full: cannot be written any more (No space left on device)"
    ]
    assert "wrote /dev/full" not in said
    assert "Traceback" not in said


def test_a_film_that_does_not_fit_is_not_called_written(command, write_video, capsys, monkeypatch):
    from stream.outputs import film

    monkeypatch.setattr(film.os, "ftruncate", lambda fd, size: None)
    real, calls = os.write, []

    def write(fd, data):
        calls.append(len(data))
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(film.os, "write", write)
    assert command("--source", write_video(frames=25), "--output", "o.mp4") == 2
    said = capsys.readouterr().err
    assert "o.mp4: cannot be written any more (No space left on device)" in said
    assert "wrote" not in said


@pytest.mark.parametrize("words", [
    ("--output", "x" * 252 + ".mp4"), ("--jsonl", "x" * 256), ("--jsonl", ""), ("--jsonl", "film.bin"),
    ("--jsonl", "same", "--ava-csv", "./same"), ("--output", "file:///x.mp4"), ("--jsonl", "folder/"),
])
def test_mistakes_in_names_are_found_before_the_work(command, write_video, capsys, monkeypatch, words):
    Path("film.bin").write_bytes(b"\0\1\2\3" * 9)
    monkeypatch.setattr(webcam, "open_source", lambda *a, **k: pytest.fail("opened"))
    assert command("--source", write_video(frames=3), *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1


def test_default_names_of_a_long_name_fit(command, write_video, capsys, tmp_path):
    film = write_video(frames=3).rename(tmp_path / ("n" * 251 + ".mp4"))
    assert command("--source", film) == 0
    assert sorted(len(p.name) for p in Path("out").iterdir()) == [255, 255]
