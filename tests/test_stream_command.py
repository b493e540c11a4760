"""`slowfast-live`: which word runs what, and what is said of words that are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from detector.errors import UserError, run_command
from stream import command as commands
from stream.command import COMMANDS, PROGRAM, Command, main, may_be_source, roofed

ROOT = Path(__file__).resolve().parent.parent
HERE = [c for c in COMMANDS if c.installed]


@pytest.fixture
def called(monkeypatch):
    """What was run, as (entry, argv, prog)."""
    calls: list[tuple[str, list[str], str]] = []

    def load(self: Command):
        return lambda argv, prog: calls.append((self.entry, argv, prog))

    monkeypatch.setattr(Command, "load", load)
    return calls


@pytest.mark.parametrize(("words", "entry", "argv", "prog"), [
    (["watch", "x.mp4"], "stream.webcam:run", ["x.mp4"], "slowfast-live watch"),
    (["party.mp4", "--live"], "stream.webcam:run", ["party.mp4", "--live"], "slowfast-live"),
    (["rtsp://host/door"], "stream.webcam:run", ["rtsp://host/door"], "slowfast-live"),
    (["0"], "stream.webcam:run", ["0"], "slowfast-live"),
    (["sample"], "stream.webcam:run", ["sample"], "slowfast-live"),
    (["--source", "train"], "stream.webcam:run", ["--source", "train"], "slowfast-live"),
    ([], "stream.webcam:run", [], "slowfast-live"),
    (["demo", "--port", "0"], "demo.__main__:main", ["--port", "0"], "slowfast-live demo"),
    (["train", "--help"], "detector.training.__main__:main", ["--help"], "slowfast-live train"),
    (["fill-boxes"], "detector.training.fill_boxes:main", [], "slowfast-live fill-boxes"),
])
def test_the_first_word_says_what_runs(called, words, entry, argv, prog):
    assert main(words) == 0
    assert called == [(entry, argv, prog)]


@pytest.mark.parametrize(("word", "says"), [("trian", "perhaps train"), ("wieghts", "perhaps weights")])
def test_a_word_that_is_nothing_names_the_nearest(called, word, says):
    with pytest.raises(UserError, match=says):
        main([word])
    assert called == []


def test_a_file_without_an_ending_is_watched(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not may_be_source("party")
    Path("party").write_text("")
    main(["party"])
    assert called[0][1] == ["party"]


def test_a_command_whose_module_is_missing_is_not_there(monkeypatch, called, capsys):
    gone = Command("fly", "stream.nowhere.__main__:main", "not built")
    monkeypatch.setattr(commands, "COMMANDS", (*COMMANDS, gone))
    assert not gone.installed
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "fly" not in shown
    assert all(f"  {c.word} " in shown for c in HERE)
    with pytest.raises(UserError, match="fly: no such command"):
        main(["fly"])


@pytest.mark.parametrize(("text", "under_the_roof"), [
    ("run: python -m detector.weights fetch x", "run: slowfast-live weights fetch x"),
    ("python -m demo --port 1", "slowfast-live demo --port 1"),
    ("python -m demo.measure", "python -m demo.measure"),
    ("python -m detector.training.fill_boxes a.csv", "slowfast-live fill-boxes a.csv"),
    ("python -m detector.rendering.sample x", "python -m detector.rendering.sample x"),
])
def test_what_is_advised_is_said_as_it_is_called_here(text, under_the_roof):
    assert roofed(text) == under_the_roof


def test_advice_of_a_command_is_put_under_the_roof(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    assert run_command(lambda: main(["weights", "fetch", "bundeld"])) == 2
    assert "(slowfast-live weights list)" in capsys.readouterr().err


@pytest.mark.parametrize("command", HERE, ids=[c.word for c in HERE])
def test_every_command_shows_its_help_and_version_under_its_name(command, capsys):
    for option, start in (("--help", f"usage: {PROGRAM} {command.word}"), ("--version", "slowfast-live 0.")):
        with pytest.raises(SystemExit) as end:
            main([command.word, option])
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith(start)
    with pytest.raises(UserError, match=rf"--hlep: unknown option; perhaps --help\? \({PROGRAM} {command.word}"):
        main([command.word, "--hlep"])


def test_help_loads_nothing_heavy():
    code = (
        "import sys, stream.command as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: sys.exit(bool({'torch', 'numpy', 'cv2', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0


def test_what_opens_a_session_has_the_same_options_everywhere():
    from demo.__main__ import parser as demo
    from stream.bench import parser as bench
    from stream.webcam import parser as webcam

    def options(parser) -> dict[str, tuple]:
        return {name: (a.metavar, a.type) for a in parser._actions for name in a.option_strings}

    shared = ("--model", "--weights", "--detector", "--engine", "--precision", "--device", "--person-threshold",
              "--untrained", "--version", "--help")
    first = options(webcam())
    for other in (demo(), bench()):
        assert {name: options(other)[name] for name in shared} == {name: first[name] for name in shared}


@pytest.mark.parametrize(("module", "former", "present"), [
    ("detector.evaluation.people", "v.mp4 l.csv --threshold 2", "--person-threshold"),
    ("detector.training.fill_boxes", "x.csv --person-detector nope --output y", "x.csv"),
])
def test_former_names_of_options_still_work(module, former, present, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module_main = __import__(module, fromlist=["main"]).main
    with pytest.raises(UserError) as error:
        module_main(former.split())
    assert "unknown option" not in str(error.value)
    assert present in str(error.value)
