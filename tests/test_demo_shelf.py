"""Uploads are readable by their visitor alone, and are gone when they should be."""

from __future__ import annotations

import os
import stat

import pytest

from demo.pool import Busy
from demo.shelf import Shelf, check_container, clean_name
from detector.errors import UserError


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def shelf(clock):
    shelf = Shelf(max_age_s=100, max_per_visitor=2, clock=lambda: clock[0])
    yield shelf
    shelf.close()


def put(shelf, visitor="ann", tab="t1", name="a.mp4"):
    folder = shelf.create(visitor, tab, name)
    folder.serve("out.mp4", "video/mp4", "out.mp4").write_bytes(b"x")
    return folder


def test_only_the_visitor_finds_a_file(shelf):
    folder = put(shelf)
    assert shelf.file("ann", folder.key, "out.mp4").path.read_bytes() == b"x"
    assert shelf.file("bob", folder.key, "out.mp4") is None
    assert shelf.file("", folder.key, "out.mp4") is None


@pytest.mark.parametrize("name", ["../out.mp4", "upload.mp4", "", ".", "..", "/etc/passwd", "out.mp4/", "OUT.MP4"])
def test_only_names_that_were_put_up_are_served(shelf, name):
    folder = put(shelf)
    (folder.path / "upload.mp4").write_bytes(b"secret")
    assert shelf.file("ann", folder.key, name) is None


def test_folders_are_readable_by_this_user_alone(shelf):
    folder = put(shelf)
    for path in (shelf.root, folder.path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def test_a_page_that_leaves_takes_its_folders_along(shelf):
    mine, other = put(shelf, tab="t1"), put(shelf, tab="t2")
    assert shelf.remove_tab("t1") == 1
    assert not mine.path.exists()
    assert other.path.exists()


def test_the_oldest_folder_of_a_visitor_goes_when_there_are_too_many(shelf, clock):
    folders = []
    for clock[0] in (1.0, 2.0, 3.0):
        folders.append(put(shelf))
    theirs = put(shelf, visitor="bob")
    assert [f.path.exists() for f in [*folders, theirs]] == [False, True, True, True]


@pytest.mark.parametrize("limit", [{"max_folders": 2}, {"min_free_bytes": 1 << 62}], ids=["folders", "disk"])
def test_a_full_server_takes_no_more_videos(limit):
    shelf = Shelf(**limit)
    try:
        if "max_folders" in limit:
            put(shelf, "ann")
            put(shelf, "bob")
        with pytest.raises(Busy, match="try again later"):
            put(shelf, "eve")
    finally:
        shelf.close()


def test_one_address_cannot_fill_the_shelf():
    shelf = Shelf(max_folders=10, max_per_address=3)
    try:
        for visitor in ("ann", "bob", "cem"):
            shelf.create(visitor, "t", "a.mp4", "192.0.2.1")
        with pytest.raises(Busy, match="try again later"):
            shelf.create("dan", "t", "a.mp4", "192.0.2.1")
        shelf.create("eve", "t", "a.mp4", "192.0.2.2")
        assert len(shelf) == 4
    finally:
        shelf.close()


def test_a_page_takes_only_its_visitors_folders_along(shelf):
    mine, theirs = put(shelf, "ann", "t1"), put(shelf, "bob", "t1")
    assert shelf.remove_tab("t1", "ann") == 1
    assert not mine.path.exists()
    assert theirs.path.exists()


def test_what_nobody_asks_for_is_swept_away(shelf, clock):
    old, used = put(shelf), put(shelf)
    clock[0] = 90
    assert shelf.find("ann", used.key) is used
    clock[0] = 150
    assert shelf.sweep() == 1
    assert not old.path.exists()
    assert used.path.exists()


def test_closing_deletes_everything(shelf):
    put(shelf)
    shelf.close()
    shelf.close()
    assert not shelf.root.exists()
    assert len(shelf) == 0


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\x00\x00\x00\x20ftypisom", ".mp4"), (b"\x00\x00\x00\x08wide\x00\x00", ".mp4"),
        (b"\x1a\x45\xdf\xa3rest", ".mkv"), (b"RIFF\x00\x00\x00\x00AVI LIST", ".avi"), (b"OggS\x00", ".ogv"),
        (b"FLV\x01\x05", ".flv"), (b"\x00\x00\x01\xba\x44", ".mpg"), ((b"G" + bytes(187)) * 4, ".ts"),
    ],
)
def test_containers_are_told_by_their_first_bytes(head, suffix):
    assert check_container(head, "x") == suffix


@pytest.mark.parametrize(
    "head",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"v=0\r\no=- 0 0 IN",
        b"<html>", b"RIFF\x00\x00\x00\x00WAVE", b"\xff\xd8\xff\xe0", b"", b"hello", b"GGGG" * 50,
        *(b"".join(bytes([0x00 if i == wrong else 0x47]) + bytes(187) for i in range(4)) for wrong in range(4)),
        (b"G" + bytes(187)) * 3,
    ],
    ids=["hls", "concat", "sdp", "html", "wav", "jpeg", "empty", "text", "no sync", "1st byte", "2nd byte", "3rd byte",
         "4th byte", "too short"],
)
def test_what_is_not_a_video_container_is_refused(head):
    with pytest.raises(UserError, match="not a video"):
        check_container(head, "x.mp4")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\films\\party.mp4", "party.mp4"), ("a\nb\x00.mp4", "ab.mp4"),
        ("", "video"),
        ("...", "video"), ("<b>x</b>.mp4", "b.mp4"), ("x" * 200, "x" * 80), ("Zoë tanzt.mp4", "Zoë tanzt.mp4"),
    ],
)
def test_names_are_cleaned(given, shown):
    assert clean_name(given) == shown
