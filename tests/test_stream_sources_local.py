"""What a name means: a file whatever it looks like, a camera, or nothing."""

import os
import shutil
from pathlib import Path

import pytest

from detector.errors import UserError
from stream.sources import open_source
from stream.sources.local import local_path


@pytest.fixture
def folder(tmp_path, monkeypatch, write_video):
    """Films under odd names, as the folder that one stands in."""
    film = write_video("film.mp4", frames=3)
    for name in ("a b.mp4", "2024", "100%41.mp4", "rec-2024-11-14T22:57:44.mp4", " spaced.mp4", "ü.mp4", "a#1?x.mp4"):
        shutil.copy(film, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("spec", "name"), [
    ("2024", "2024"), ("file:{here}/a%20b.mp4", "a b.mp4"), ("file://{here}/a%20b.mp4", "a b.mp4"),
    ("file://localhost{here}/a%20b.mp4", "a b.mp4"), ("FILE://{here}/a b.mp4", "a b.mp4"),
    ("file:a%20b.mp4", "a b.mp4"),
    ("file://{here}/100%41.mp4", "100%41.mp4"), ("file://{here}/100%2541.mp4", "100%41.mp4"),
    ("file://{here}/%C3%BC.mp4", "ü.mp4"), ("file://{here}/a%231%3Fx.mp4", "a#1?x.mp4"),
    ("file://{here}/a#1?x.mp4", "a#1?x.mp4"),
    ("rec-2024-11-14T22:57:44.mp4", "rec-2024-11-14T22:57:44.mp4"), (" spaced.mp4", " spaced.mp4"),
    (" film.mp4 ", "film.mp4"),
    ("{here}/../{folder}/film.mp4", "film.mp4"), ("/dev/..{here}/film.mp4", "film.mp4"),
])
def test_a_file_is_watched_whatever_it_is_called(folder, spec, name):
    spec = spec.format(here=folder, folder=folder.name)
    source = open_source(spec)
    assert len(list(source)) == 3
    assert source.name == name
    assert source.path.samefile(folder / name)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no shared memory here")
def test_a_file_below_dev_is_a_file(folder):
    path = Path(f"/dev/shm/slowfast-live-test-{os.getpid()}.mp4")
    shutil.copy(folder / "film.mp4", path)
    try:
        source = open_source(str(path))
        assert (source.live, len(list(source))) == (False, 3)
    finally:
        path.unlink()


@pytest.mark.parametrize(("spec", "says"), [
    ("/dev/null", "is no camera"), ("/dev/zero", "is no camera"), ("/dev/shm/none.mp4", "no such file"),
    ("file://other/x.mp4", "a file of the machine 'other'"), ("file://", "names no file"),
    ("x" * 300, "File name too long"),
    ("/dev/video97", "there is no /dev/video97"), ("1999", "there is no /dev/video1999"),
])
def test_what_is_neither_is_one_line(folder, spec, says):
    with pytest.raises(UserError, match=says) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("spec", "expected"), [
    ("rtsp://host/x", None), ("http://host/x.mp4", None), ("@file", None), ("sample", None), ("0", None),
    ("film.mp4", Path("film.mp4")), ("/x/y.mp4", Path("/x/y.mp4")),
])
def test_addresses_and_numbers_are_no_files(folder, spec, expected):
    assert local_path(spec) == expected


@pytest.mark.parametrize(("spec", "passed"), [("RTSP://Host/Door", "rtsp://Host/Door"), ("Http://h/X", "http://h/X")])
def test_schemes_in_capitals_are_schemes(monkeypatch, spec, passed):
    got = []
    monkeypatch.setattr("stream.sources.open_network", lambda url, **how: got.append(url))
    open_source(spec)
    assert got == [passed]


def test_a_pipe_is_watched_as_it_comes(tmp_path, write_video):
    import threading

    film, pipe = write_video("film.mkv", frames=5), tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(film.read_bytes()), daemon=True)
    feeder.start()
    assert len(list(open_source(str(pipe)))) == 5
    feeder.join(10)
    assert not feeder.is_alive()
