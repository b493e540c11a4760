"""Names of outputs: one file under two names, files that are there already, names that no file can have."""

import os

import pytest

from detector.errors import UserError
from stream.outputs.ava_csv import looks_like_ava_csv
from stream.outputs.json_lines import looks_like_json_lines
from stream.outputs.names import check_appendable, check_outputs, free_name, same_file_key, with_ending


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A film under its own name, a symbolic and a hard link, in a folder that has a second name too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "soft.mp4").symlink_to("film.mp4")
    os.link("film.mp4", "hard.mp4")
    (tmp_path / "same").symlink_to(".")
    (tmp_path / "dangling.mp4").symlink_to("not_there.mp4")
    return tmp_path


NAMES_OF_ONE = [
    "film.mp4", "./film.mp4", "sub/../film.mp4", "soft.mp4", "hard.mp4", "same/film.mp4", "same/same/hard.mp4",
]


@pytest.mark.parametrize("option", ["--output", "--jsonl", "--ava-csv"])
@pytest.mark.parametrize("name", [*NAMES_OF_ONE, "ABSOLUTE"])
@pytest.mark.parametrize("source", ["film.mp4", "hard.mp4"])
def test_the_source_is_no_output_whatever_it_is_called(folder, option, name, source):
    name = str(folder / "film.mp4") if name == "ABSOLUTE" else name
    with pytest.raises(UserError, match=f"{option} .*: is the source itself"):
        check_outputs({option: name}, source)
    assert (folder / "film.mp4").read_bytes() == b"film"


@pytest.mark.parametrize(("one", "other"), [
    ("film.mp4", "hard.mp4"), ("new", "./new"), ("new", "same/new"), ("new", "sub/../new"),
    ("dangling.mp4", "not_there.mp4"), ("-", "-"),
])
def test_two_outputs_are_two_files(folder, one, other):
    with pytest.raises(UserError, match=r"--ava-csv .*: is the same file as --jsonl"):
        check_outputs({"--jsonl": one, "--ava-csv": other})


def test_what_is_different_passes(folder):
    check_outputs({"--output": "new.mp4", "--jsonl": "new.jsonl", "--ava-csv": None}, "film.mp4")
    check_outputs({"--jsonl": "/dev/null", "--ava-csv": "/dev/null"}, "film.mp4")
    assert same_file_key("film.mp4") == same_file_key("hard.mp4") != same_file_key("new")


@pytest.mark.parametrize(("name", "says"), [
    ("", "empty name"), ("  ", "empty name"), ("sub/", "a folder's name"), ("sub/..", "a folder's name"),
    ("file:///tmp/x.mp4", "is an address"), ("rtsp://host/x.mp4", "is an address"), ("x" * 256, "name is too long"),
    ("ü" * 128, "name is too long"), ("film.mp4/x", "cannot be written"), ("a\0b", "no name of a file"),
])
def test_names_that_no_file_can_have_are_one_line(folder, name, says):
    with pytest.raises(UserError, match=says) as caught:
        check_outputs({"--jsonl": name})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a:b.jsonl", "2024", "ü.jsonl", "caf\udce9", "x" * 255, "-", " a", "%41"])
def test_names_that_files_can_have_pass(folder, name):
    check_outputs({"--jsonl": name})


@pytest.mark.parametrize(("content", "is_ours", "there"), [
    (b"", looks_like_json_lines, False), (b'{"schema": 1}\n', looks_like_json_lines, True),
    (b'{"torn', looks_like_json_lines, True), (b'{"name": "' + "ü".encode() * 5000, looks_like_json_lines, True),
    (b"a,0001,0,0,1,1,12,0.5\n", looks_like_ava_csv, True), (b"a,0001,0", looks_like_ava_csv, True),
])
def test_lines_are_appended_to_lines(tmp_path, content, is_ours, there):
    (tmp_path / "x").write_bytes(content)
    assert check_appendable("x", tmp_path / "x", is_ours) is there
    assert check_appendable("x", tmp_path / "none", is_ours) is False


@pytest.mark.parametrize(("content", "is_ours"), [
    (b"\0\0\0\x20ftypisom", looks_like_json_lines), (b"hello\n", looks_like_json_lines),
    (b"{\xff\xfe", looks_like_json_lines), (b"\0" * 20, looks_like_ava_csv), (b"x" * 100, looks_like_ava_csv),
])
def test_lines_are_not_appended_to_something_else(tmp_path, content, is_ours):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="holds something else"):
        check_appendable("--jsonl x", tmp_path / "x", is_ours)
    assert (tmp_path / "x").read_bytes() == content


def test_a_film_gets_a_free_name(tmp_path):
    path = tmp_path / "film.mp4"
    assert free_name(path) == path
    for expected in ("film.mp4", "film-2.mp4", "film-3.mp4"):
        assert free_name(path).name == expected
        free_name(path).touch()
    (tmp_path / "film-4.mp4").symlink_to("nowhere")
    assert free_name(path).name == "film-5.mp4"
    long = tmp_path / ("n" * 251 + ".mp4")
    long.touch()
    assert free_name(long).name == "n" * 249 + "-2.mp4"
    assert len(os.fsencode(with_ending(tmp_path / ("ü" * 127), ".jsonl").name)) <= 255
