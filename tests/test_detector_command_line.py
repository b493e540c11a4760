"""The manners of every command line: one line for a mistake, the nearest name, checks before the work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from detector import __version__
from detector.command_line import CommandLine, check_file_to_write, check_folder_to_make
from detector.errors import UserError, nearest_names, perhaps
from detector.weights.zoo import action_models

ROOT = Path(__file__).resolve().parent.parent


def a_parser() -> CommandLine:
    cli = CommandLine("tool")
    cli.add_argument("file")
    cli.add_argument("--threshold", type=float)
    cli.add_argument("--thread-count", type=int)
    cli.accept_former(cli.add_argument("--engine", choices=("auto", "torch"), default="auto"), "--target")
    cli.add_argument("--output", "-o", required=True)
    return cli


def with_commands() -> CommandLine:
    cli = CommandLine("tool")
    commands = cli.add_subparsers(required=True, metavar="list|fetch")
    commands.add_parser("list")
    commands.add_parser("fetch").add_argument("--name", required=True)
    return cli


@pytest.mark.parametrize(("words", "says"), [
    ("x -o y --treshold 1", "--treshold: unknown option; perhaps --threshold? (tool --help)"),
    ("--treshold 1", "--treshold: unknown option; perhaps --threshold? (tool --help)"),
    ("x -o y --thres=1", "--thres: unknown option; perhaps --threshold? (tool --help)"),
    ("x -o y --thre 1", "--thre: unknown option; perhaps --threshold or --thread-count? (tool --help)"),
    ("x -output y", "-output: unknown option; perhaps --output? (tool --help)"),
    ("x -o y --xyz", "--xyz: unknown option (tool --help)"),
    ("x -o y --threshold abc", "--threshold: got 'abc', expected a number (tool --help)"),
    ("x -o y --thread-count 1.5", "--thread-count: got '1.5', expected a whole number (tool --help)"),
    ("x -o y --engine troch", "--engine: got 'troch', expected auto or torch; perhaps torch? (tool --help)"),
    ("x -o y --target troch", "--engine: got 'troch', expected auto or torch; perhaps torch? (tool --help)"),
    ("x -o y --threshold", "--threshold: expected a value after it (tool --help)"),
    ("x -o y z", "z: one word too many (tool --help)"),
    ("", "missing: file, --output/-o (tool --help)"),
])
def test_a_mistake_is_one_line(words, says):
    with pytest.raises(UserError) as error:
        a_parser().parse_args(shlex.split(words))
    assert str(error.value) == says


@pytest.mark.parametrize(("words", "says"), [
    ("lsit", "lsit: no such command, expected list or fetch; perhaps list? (tool --help)"),
    ("", "missing: list|fetch (tool --help)"),
    ("fetch --nmae x", "--nmae: unknown option; perhaps --name? (tool fetch --help)"),
    ("fetch", "missing: --name (tool fetch --help)"),
    ("list more", "more: one word too many (tool --help)"),
])
def test_a_mistake_in_a_command_of_a_command(words, says):
    with pytest.raises(UserError) as error:
        with_commands().parse_args(shlex.split(words))
    assert str(error.value) == says


def test_former_spellings_work_and_are_not_shown():
    assert a_parser().parse_args(["x", "-o", "y", "--target", "torch"]).engine == "torch"
    assert "--target" not in a_parser().format_help()


def test_what_follows_two_dashes_is_no_option():
    cli = CommandLine("tool")
    cli.add_argument("rest", nargs="*")
    assert cli.parse_args(["--", "--treshold"]).rest == ["--treshold"]


@pytest.mark.parametrize("make", [a_parser, with_commands])
def test_the_version_is_the_package_s(make, capsys):
    with pytest.raises(SystemExit) as end:
        make().parse_args(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"slowfast-live {__version__}\n"


@pytest.mark.parametrize(("path", "suffixes", "says"), [
    ("a.avi", (".mp4", ".mov"), "--o a.avi: got a name ending in '.avi', expected .mp4 or .mov"),
    ("a", (".mp4",), "--o a: got a name without an ending, expected .mp4"),
    ("there", (), "--o there: is a folder, expected a file's name"),
    ("there/file/x", (), "--o: there/file is no folder"),
    ("new/deep/x", (), "--o: there is no folder new to make deep in; make it, or mend the path"),
    ("new/x.MP4", (".mp4",), None), ("there/x", (), None), ("x", (), None), ("-", (".mp4",), None), (None, (), None),
])
def test_files_to_write_are_refused_before_the_work(tmp_path, monkeypatch, path, suffixes, says):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("there/file").write_text("")
    if says is None:
        check_file_to_write("--o", path, suffixes)
    else:
        with pytest.raises(UserError) as error:
            check_file_to_write("--o", path, suffixes)
        assert str(error.value) == says
    assert sorted(p.name for p in Path().rglob("*")) == ["file", "there"], "a check makes nothing"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="may not write"):
        check_file_to_write("--o", tmp_path / "x")


def test_a_folder_that_is_refused_by_the_system_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="may not write to"):
        check_file_to_write("--o", tmp_path / "x")


def test_only_the_last_folder_is_made(tmp_path):
    check_folder_to_make("--o", tmp_path / "one")
    with pytest.raises(UserError, match="no folder"):
        check_folder_to_make("--o", tmp_path / "one" / "two")


@pytest.mark.parametrize(("most", "fill", "names"), [
    (3, False, "walk"), (3, True, "walk, sit or stand"), (1, True, "walk"),
])
def test_the_nearest_come_first(most, fill, names):
    assert nearest_names("wlak", ["sit", "stand", "walk", "walk"], most, fill=fill) == names


def test_what_is_like_nothing_is_not_compared():
    assert perhaps("wlak", ["sit", "walk"]) == "; perhaps walk?"
    assert perhaps("qqq", ["sit", "walk"]) == ""


def examples_of(text: str) -> list[list[str]]:
    """The command lines of a help's epilog, continued lines joined."""
    lines = text.split("examples:")[1].replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if re.match(r"  (python|torchrun|tool)", line)]


def names_of_models(words: list[str]) -> list[str]:
    named = [words[i + 1] for i, w in enumerate(words[:-1]) if w in ("--model", "--weights", "--init")]
    return [name for name in named if "/" not in name]


def test_the_helps_of_training_and_evaluation_show_what_exists():
    from detector.evaluation.__main__ import create_parser as evaluation
    from detector.training.__main__ import create_parser as training
    from stream.webcam import _check
    from stream.webcam import parser as webcam

    seen = []
    for make in (training, evaluation):
        for words in examples_of(make("tool").format_help()):
            module = words[words.index("-m") + 1] if "-m" in words else "tool"
            rest = words[words.index("-m") + 2:] if "-m" in words else words[1:]
            seen.append(module)
            assert set(names_of_models(rest)) <= {*action_models(), "auto", "random", "bundled"}, words
            if module == "stream.webcam":
                args = webcam().parse_args(rest)
                args.model = "auto"  # the example's own file is not here
                _check(args)
            else:
                (training if module == "detector.training" else make)().parse_args(rest)
    assert len(seen) >= 8
    assert {"tool", "stream.webcam", "detector.training"} <= set(seen)


MISTAKES = (
    "detector.training --recipe nope --data .", "detector.training --recipe finetune --data nope.csv",
    "detector.training --recipe finetune --data . --set batch=x", "detector.training --recpie finetune",
    "detector.evaluation boxes --data . --model nope", "detector.evaluation ava --groundtruth nope --predictions nope",
    "detector.training.fill_boxes nope.csv --output x", "engine_build --model nope", "engine_build --size 3",
    "detector.weights fetch nope", "stream.webcam --output x.avi", "stream.webcam --threshold 2",
    "stream.webcam --output nope/deep/x.mp4", "stream.webcam --engine tensort", "stream.webcam --model nope",
    "stream.webcam --detector nope", "stream.bench nope.mp4 --json a/b/c", "demo --host wrong --port 0",
    "demo --engine nope",
)


def test_mistakes_come_before_torch():
    code = (
        "import runpy, sys\n"
        "for words in sys.argv[1:]:\n"
        "    module, *sys.argv[1:] = words.split()\n"
        "    try: runpy.run_module(module, run_name='__main__')\n"
        "    except SystemExit as end: print(end.code, 'torch' in sys.modules, words)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *MISTAKES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [f"2 False {words}" for words in MISTAKES], done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(MISTAKES)
    assert all(line.startswith("error: ") for line in lines)
