"""Files that appear whole or not at all: what was there stays until the new one is on disk."""

from __future__ import annotations

import os
import threading

import pytest

from detector.files import whole_file, write_whole


def test_until_it_is_complete_the_old_file_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_what_fails_half_way_leaves_the_old_file_and_no_scraps(tmp_path, monkeypatch, moment):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    if moment != "write":
        monkeypatch.setattr(os, moment, fail)
    def write() -> None:
        with whole_file(path) as file:
            file.write(b"half of the n")
            if moment == "write":
                fail()

    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_it_is_on_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(os, "replace", lambda old, new: order.append("replace") or replace(old, new))
    write_whole(tmp_path / "a", "text")
    assert order == ["fsync", "replace"]


def test_threads_that_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a"
    contents = [bytes([65 + i]) * 200_000 for i in range(6)]
    threads = [threading.Thread(target=write_whole, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["a"]


def test_a_name_of_the_longest_length_is_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_whole(path, "x")
    assert path.read_text() == "x"
