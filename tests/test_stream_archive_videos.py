"""What an archive has: names, order, what is left out, and keys that change with the file and the settings."""

from __future__ import annotations

import os

import pytest

from detector.errors import UserError
from stream.archive.books import Books
from stream.archive.videos import Video, find_videos


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_walked_and_hidden_files_and_the_output_are_left_out(tmp_path):
    put(tmp_path, "b.mp4", "a/ä b.MKV", "a/notes.txt", ".hidden.mp4", ".git/c.mp4", "out/d.mp4")
    videos, missing = find_videos(str(tmp_path), str(tmp_path / "out"))
    assert [video.name for video in videos] == ["a/ä b.MKV", "b.mp4"]
    assert missing == []


def test_a_list_names_files_beside_it_and_elsewhere_each_once(tmp_path):
    put(tmp_path, "in/a.mp4", "far/b.bin")
    place = tmp_path / "in" / "list.txt"
    place.write_text(f"# mine\na.mp4\n./a.mp4\n\n{tmp_path}/far/b.bin\ngone.mp4\n.\n")
    videos, missing = find_videos(str(place), str(tmp_path / "out"))
    assert [video.name for video in videos] == ["a.mp4", f"elsewhere{tmp_path}/far/b.bin"]
    assert missing == [("gone.mp4", "No such file or directory"), (".", "is no file")]


@pytest.mark.parametrize(("make", "says"), [
    (lambda p: None, "no such folder or list"),
    (lambda p: p.mkdir(), "has no video in it"),
    (lambda p: p.write_bytes(b"\xff\xfe\x00"), "not text"),
    (lambda p: p.write_text("# nothing\n"), "names no video"),
])
def test_mistakes_are_one_line(tmp_path, make, says):
    make(tmp_path / "place")
    with pytest.raises(UserError, match=says) as caught:
        find_videos(str(tmp_path / "place"), str(tmp_path / "out"))
    assert "\n" not in str(caught.value)


def test_a_key_changes_with_path_size_time_and_settings(tmp_path):
    video = Video("/v/a.mp4", "a.mp4", 5, 7)
    others = [Video("/v/b.mp4", "a.mp4", 5, 7), Video("/v/a.mp4", "a.mp4", 6, 7), Video("/v/a.mp4", "a.mp4", 5, 8)]
    keys = [video.key("s"), video.key("t"), *(other.key("s") for other in others)]
    assert len(set(keys)) == 5
    assert Video("/v/a.mp4", "another name", 5, 7).key("s") == keys[0]


def settled(folder, name="a.mp4", text=b"result"):
    books = Books(folder)
    made = folder / "made"
    made.write_bytes(text)
    books.settle("key", {"name": name}, {"answers": made})
    return books


def test_a_settled_video_is_found_with_its_results(tmp_path):
    books = settled(tmp_path, "sub/a.mp4")
    assert books.find("key")["name"] == "sub/a.mp4"
    assert (tmp_path / "answers" / "sub" / "a.mp4.jsonl").read_bytes() == b"result"
    assert books.find("other") is None


@pytest.mark.parametrize("harm", [
    lambda f: (f / "answers/a.mp4.jsonl").unlink(),
    lambda f: (f / "answers/a.mp4.jsonl").write_bytes(b"resu"),
    lambda f: (f / "done/key.json").write_text('{"version": 1, "na'),
    lambda f: (f / "done/key.json").write_text("[]"),
    lambda f: (f / "done/key.json").write_text('{"version": 0}'),
    lambda f: (f / "done/key.json").write_text('{"version": 1, "name": "a.mp4"}'),
])
def test_what_is_not_whole_is_not_done(tmp_path, harm):
    books = settled(tmp_path)
    harm(tmp_path)
    assert books.find("key") is None


def test_names_that_file_systems_do_not_take_are_cut_and_kept_apart(tmp_path):
    books = Books(tmp_path)
    names = ["ä" * 125 + f"{n}.mp4" for n in range(2)]
    paths = [books.result_path("rows", name) for name in names]
    assert paths[0] != paths[1]
    assert all(len(os.fsencode(path.name)) <= 255 and path.suffix == ".parquet" for path in paths)


def test_bad_videos_are_listed_as_csv(tmp_path):
    Books(tmp_path).write_bad([('a,"b".mp4', "no video"), ("c\udcff.mp4", "cut off")])
    assert (tmp_path / "bad.csv").read_text().splitlines()[1] == '"a,""b"".mp4",no video'
