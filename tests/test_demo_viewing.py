"""A live viewing: newest picture wins, slow pages get fewer, and the end frees everything, however it comes."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest
from demo_fakes import fake_pool, picture

from demo.choices import Choices
from demo.viewing import MAX_UNSHOWN, Viewing, decode_jpeg, encode_jpeg, jpeg_size
from detector.errors import UserError
from stream.sources import PushSource


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.mark.parametrize("size_hw", [(1, 1), (240, 320), (333, 77)])
def test_the_size_of_a_jpeg_is_read_from_its_header(size_hw):
    data = jpeg(np.zeros((*size_hw, 3), np.uint8))
    assert jpeg_size(data) == size_hw
    assert decode_jpeg(data).shape[:2] == size_hw


def test_a_jpeg_that_would_fill_the_memory_is_refused_by_its_header():
    data = bytearray(jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = data.index(b"\xff\xc0")
    data[at + 5:at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UserError, match="65535x65535"):
        decode_jpeg(bytes(data))


SMALL, HUGE = (b"\xff\xc0\x00\x11\x08" + side.to_bytes(2) * 2 + b"\x03" + bytes(9) for side in (16, 30_000))


@pytest.mark.parametrize("data", [
    b"\xff\xd8" + HUGE, b"\xff\xd8\xff\xe0\x00\x04ab" + HUGE + SMALL, b"\xff\xd8\xff\xff\xff" + HUGE,
    b"\xff\xd8\xff\xe1\x00\x15" + SMALL + HUGE, HUGE.join([b"\xff\xd8", SMALL]),
    # A marker that has no length: taken for one with a length, it would hide the header behind it.
    b"\xff\xd8\xff\x01" + HUGE + SMALL, b"\xff\xd8\xff\xd0" + HUGE + SMALL, b"\xff\xd8\xff\x01\x00\x15" + HUGE + SMALL,
    b"\xff\xd8\xff\xe0\x00\x00" + HUGE + SMALL, b"\xff\xd8\x00" + HUGE, b"\xff\xd8\xff\xd8" + HUGE + SMALL,
    b"GIF89a" + (30_000).to_bytes(2, "little") * 2 + bytes(99), b"RIFF\x00\x01\x00\x00WEBPVP8X" + bytes(99),
])
def test_no_header_bomb_reaches_the_decoder(data, monkeypatch):
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"30000x30000|not a JPEG"):
        decode_jpeg(data + bytes(64))


def test_a_jpeg_of_endless_passes_is_refused(monkeypatch):
    # Each pass over a picture costs time and takes ten bytes.
    progressive = cv2.imencode(".jpg", picture(0.3), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert decode_jpeg(progressive).shape == (240, 320, 3)
    at = progressive.rindex(b"\xff\xda")
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match="passes"):
        decode_jpeg(progressive[:at] + progressive[at:-2] * 40 + progressive[-2:])


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff\xd8\xff\xff\xff", bytes(99)]
)
def test_what_is_not_a_jpeg_is_refused(data):
    with pytest.raises(UserError):
        decode_jpeg(data)


def test_large_pictures_are_sent_smaller():
    assert jpeg_size(encode_jpeg(np.zeros((1080, 1920, 3), np.uint8))) == (720, 1280)


class Stage:
    """A viewing with a pushing camera, and a wait for what it gives."""

    def __init__(self, **choices) -> None:
        self.pool, self.source = fake_pool(), PushSource("test")
        self.woken = threading.Event()
        wanted = Choices("fake", 0.5, **choices)
        self.viewing = Viewing(self.source, self.pool.lease("fake"), wanted, wake=self.woken.set)
        self.time_s = 0.0

    def push(self, x: float = 0.3) -> None:
        self.time_s += 1 / 15
        self.source.push(picture(x), self.time_s)

    def take(self, timeout_s: float = 20.0):
        """Push until a picture comes."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            self.push()
            self.woken.wait(0.07)
            self.woken.clear()
            taken = self.viewing.take()
            if taken is not None:
                return taken
        raise AssertionError("no picture came")

    def until(self, condition) -> None:
        for _ in range(300):
            taken = self.viewing.take()
            if taken is not None:
                self.viewing.shown()
            if condition():
                return
            self.push()
            time.sleep(0.05)
        raise AssertionError("it did not come about")

    def close(self) -> None:
        assert self.viewing.close()
        self.pool.close()


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


def test_people_and_actions_come_back_with_the_picture(stage):
    stage.until(lambda: any(p["actions"] for p in stage.viewing.status()["people"]))
    (person,) = stage.viewing.status()["people"]
    # The figure walks in the left half and stands a little: see the fake engine; poses exclude one another.
    assert [name for name, _ in person["actions"]] == ["walk"]


def test_a_page_that_shows_nothing_is_sent_nothing_more(stage):
    for _ in range(MAX_UNSHOWN):
        stage.take()
    for _ in range(5):
        stage.push()
        time.sleep(0.05)
    assert stage.viewing.take() is None
    stage.viewing.shown()
    assert stage.take() is not None


def test_a_higher_threshold_makes_labels_vanish_and_then_people(stage):
    stage.until(lambda: any(p["actions"] for p in stage.viewing.status()["people"]))
    stage.viewing.choose(Choices("fake", 0.5, 0.99))
    stage.until(lambda: [p["actions"] for p in stage.viewing.status()["people"]] == [[]])
    stage.viewing.choose(Choices("fake", 0.95, 0.99))
    stage.until(lambda: stage.viewing.status()["people"] == [])


def test_the_end_of_the_camera_ends_the_viewing_and_frees_its_model(stage):
    stage.take()
    stage.source.end()
    stage.until(lambda: stage.viewing.ended)
    assert stage.viewing.error is None
    assert stage.pool.users == 0


def test_closing_leaves_no_thread_and_no_lease():
    before = threading.active_count()
    stage = Stage()
    stage.take()
    stage.close()
    assert stage.pool.users == 0
    assert threading.active_count() <= before


def test_a_camera_that_fails_is_told_without_internals():
    class Broken(PushSource):
        def __iter__(self):
            raise RuntimeError("secret /etc/path")
            yield

    pool = fake_pool()
    viewing = Viewing(Broken("x"), pool.lease("fake"), Choices("fake", 0.5))
    for _ in range(200):
        if viewing.ended:
            break
        time.sleep(0.05)
    assert viewing.ended
    assert "secret" not in (viewing.error or "")
    assert viewing.close()
    assert pool.users == 0
    pool.close()


def test_choices_that_do_not_fit_the_model_free_what_was_lent():
    pool, source = fake_pool(), PushSource("x")
    with pytest.raises(UserError, match="fly"):
        Viewing(source, pool.lease("fake"), Choices("fake", 0.5, actions=("fly",)))
    assert pool.users == 0
    assert not source.push(picture(0.5))
    pool.close()


def test_pictures_get_thinner_on_a_slow_way_and_well_again_on_a_quick_one():
    now = [0.0]
    pool, source = fake_pool(), PushSource("test")
    stage = Stage.__new__(Stage)
    stage.pool, stage.source, stage.time_s, stage.woken = pool, source, 0.0, threading.Event()
    stage.viewing = Viewing(
        source, pool.lease("fake"), Choices("fake", 0.99), wake=stage.woken.set, clock=lambda: now[0]
    )

    def size_after(way_s: float) -> int:
        for _ in range(25):
            stage.take()
            now[0] += way_s
            stage.viewing.shown()
        # The picture that was drawn before the last one was shown may be as before.
        sizes = [len(stage.take().jpeg) for _ in range(2)]
        now[0] += way_s
        stage.viewing.shown()
        stage.viewing.shown()
        return sizes[1]

    well, thin = size_after(0.01), size_after(1.0)
    assert thin < 0.7 * well
    assert size_after(0.01) > 0.95 * well
    stage.close()
