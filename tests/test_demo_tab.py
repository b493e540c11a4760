"""A page's line, with a socket made of queues: what it may ask, what it is told, and that leaving frees everything."""

from __future__ import annotations

import asyncio
import json

import cv2
import numpy as np
import pytest
from demo_fakes import fake_pool, fake_session, picture

from demo.choices import Choices
from demo.pool import ModelPool, Seats
from demo.tab import HEADER, HEADER_BACK, MAX_PICTURE_BYTES, Tab
from detector.errors import UserError
from stream.sources import PushSource


class Page:
    """The other end of the line."""

    def __init__(self, pool, seats, **options) -> None:
        self.inbox: asyncio.Queue = asyncio.Queue()
        self.heard: asyncio.Queue = asyncio.Queue()
        self.pictures: list[bytes] = []
        self.tab = Tab(self, pool, seats, Choices("fake", 0.5), **options)
        self.task = asyncio.create_task(self.tab.run())
        self.time_s = 0.0

    async def receive(self):
        return await self.inbox.get()

    async def send_text(self, data: str) -> None:
        self.heard.put_nowait(json.loads(data))

    async def send_bytes(self, data: bytes) -> None:
        self.pictures.append(data)
        self.say(do="shown")

    def say(self, **command) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(command)})

    def send(self, data: bytes) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "bytes": data})

    def push(self, x: float = 0.3) -> None:
        self.time_s += 1 / 15
        self.send(HEADER.pack(self.time_s) + cv2.imencode(".jpg", picture(x))[1].tobytes())

    async def hear(self, event: str, **content):
        while True:
            got = await asyncio.wait_for(self.heard.get(), 20)
            if got["event"] == event and all(got.get(k) == v for k, v in content.items()):
                return got

    async def leave(self) -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect"})
        await asyncio.wait_for(self.task, 20)


def run(body, visitors: int = 2, pool=None, **options):
    """Run `body(page factory, pool, seats)` and check that nothing stays taken."""
    pool, seats = pool or fake_pool(), Seats(visitors)

    async def main():
        pages: list[Page] = []

        def open_page(**more):
            pages.append(Page(pool, seats, **options, **more))
            return pages[-1]

        await body(open_page, seats)
        for page in pages:
            if not page.task.done():
                await page.leave()

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
        assert (pool.users, seats.taken) == (0, 0)
    finally:
        pool.close()


def test_pictures_go_in_and_come_back_with_people():
    async def body(open_page, seats):
        page = open_page()
        assert (await page.hear("hello"))["urls"] is False
        page.say(do="start")
        started = await page.hear("started", model="fake", display="now")
        assert started["styles"]["walk"] == ["#0072B2", True]
        for _ in range(300):
            page.push()
            await page.hear("got")
            await asyncio.sleep(0.03)
            if page.heard.qsize() and page.pictures and any(
                p["actions"] for e in list(page.heard._queue) if e["event"] == "status" for p in e["people"]
            ):
                break
        else:
            raise AssertionError("no labels came")
        time_s, length = HEADER_BACK.unpack_from(page.pictures[-1])
        assert 0 < time_s <= page.time_s + 1e-6
        people, data = page.pictures[-1][HEADER_BACK.size:][:length], page.pictures[-1][HEADER_BACK.size + length:]
        (person,) = json.loads(people)
        # The figure fills a fifth of the width round 0.3, and two thirds of the height.
        assert person["box"] == pytest.approx([0.2, 1 / 6, 0.4, 5 / 6], abs=0.05)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3)
        # Boxes and letters are the page's: the picture is grey and red alone.
        assert (image[..., 1].astype(int) - image[..., 2]).max() < 30

    run(body)


def test_a_full_house_is_told_politely_and_has_room_again_when_somebody_leaves():
    async def body(open_page, seats):
        first, second = open_page(), open_page()
        first.say(do="start")
        await first.hear("started")
        second.say(do="start")
        assert "please try again" in (await second.hear("error", busy=True))["message"]
        await first.leave()
        assert seats.taken == 0
        second.say(do="start")
        await second.hear("started")

    run(body, visitors=1)


def test_starting_again_keeps_ones_own_seat():
    async def body(open_page, seats):
        page = open_page()
        for display in ("now", "synced", "now"):
            page.say(do="start", choices={"display": display})
            await page.hear("started", display=display)
            assert seats.taken == 1
        page.say(do="stop")
        await page.hear("ended", reason="")
        assert seats.taken == 0

    run(body, visitors=1)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '"start"', '{"do": "eval"}', '{"do": null}', '{"do": "start", "choices": [1]}', "x" * 30_000,
     '{"do": "start", "choices": {"person": 7}}', '{"do": "start", "choices": {"actions": ["fly"]}}',
     "[" * 19_000, '{"do": ' + "[" * 9_000 + "]" * 9_000 + "}", '{"do": ' + '{"a":' * 200 + "1" + "}" * 200 + "}",
     '{"do": 1' + "0" * 5000 + "}", "\ud800", '{"do": "\\ud800"}', "\x00", "NaN", "null", "\ufeff{}"],
)
def test_nonsense_gets_an_error_and_the_line_goes_on(text):
    async def body(open_page, seats):
        page = open_page()
        page.inbox.put_nowait({"type": "websocket.receive", "text": text})
        await page.hear("error", busy=False)
        page.say(do="start")
        await page.hear("started")

    run(body)


ANY_JSON = [
    "{}", "[]", '{"a": 1}', "[[]]", "null", "true", "0", "-1", "1e999", "NaN", "1" + "0" * 4000, '"x"', '"\\ud800"',
    "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300,
]


@pytest.mark.parametrize("value", ANY_JSON, ids=range(len(ANY_JSON)))
@pytest.mark.parametrize("command", [
    '{"do": %s}', '{"do": "choose", "choices": %s}', '{"do": "watch", "url": %s}', '{"do": "shown", "x": %s}',
    *('{"do": "choose", "choices": {"' + name + '": %s}}'
      for name in ("model", "person", "action", "actions", "display")),
    '{"do": "choose", "choices": {"actions": [%s]}}',
])
def test_any_json_in_any_field_is_answered_or_ignored(command, value):
    async def body(open_page, seats):
        page = open_page()
        page.inbox.put_nowait({"type": "websocket.receive", "text": command % value})
        page.say(do="stop")
        await page.hear("ended", reason="")

    run(body, open_url=lambda url: pytest.fail(f"opened {url}"))


def good_jpeg(x: float = 0.3) -> bytes:
    return cv2.imencode(".jpg", picture(x))[1].tobytes()


@pytest.mark.parametrize(("time_s", "jpeg", "says"), [
    (1.0, good_jpeg() + bytes(MAX_PICTURE_BYTES), "got 40"), (float("nan"), good_jpeg(), "number of seconds"),
    (float("inf"), good_jpeg(), "number of seconds"), (-0.001, good_jpeg(), "number of seconds"),
    (1e9, good_jpeg(), "number of seconds"), (1.0, good_jpeg()[:300], "JPEG"),
], ids=["too large", "no number", "for ever", "before all", "too late", "cut off"])
def test_good_pictures_outside_the_limits_are_refused(time_s, jpeg, says):
    async def body(open_page, seats):
        page = open_page()
        page.say(do="start")
        await page.hear("started")
        page.send(HEADER.pack(time_s) + jpeg)
        assert says in (await page.hear("error"))["message"]

    run(body)


@pytest.mark.parametrize("time_s", [0.0, 999_999_999.0])
def test_good_pictures_at_the_limits_are_taken(time_s):
    async def body(open_page, seats):
        page = open_page()
        page.say(do="start")
        await page.hear("started")
        jpeg = good_jpeg()
        page.send(HEADER.pack(time_s) + jpeg + bytes(MAX_PICTURE_BYTES - HEADER.size - len(jpeg)))
        await page.hear("got")
        page.say(do="stop")
        while (event := await asyncio.wait_for(page.heard.get(), 20))["event"] != "ended":
            assert event["event"] != "error"

    run(body)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", bytes(8), HEADER.pack(1.0) + b"no jpeg", HEADER.pack(float("nan")) + b"\xff\xd8", bytes(5_000_000)],
    ids=["empty", "short", "header alone", "no jpeg", "no time", "too large"],
)
def test_bad_pictures_get_an_error_and_are_still_answered(data):
    async def body(open_page, seats):
        page = open_page()
        page.say(do="start")
        await page.hear("started")
        page.send(data)
        await page.hear("got")
        await page.hear("error")
        page.push()
        await page.hear("got")

    run(body)


def test_pictures_before_the_start_are_ignored():
    async def body(open_page, seats):
        page = open_page()
        page.push()
        await page.hear("got")

    run(body)


def test_addresses_are_refused_unless_the_server_allows_them():
    async def body(open_page, seats):
        page = open_page()
        page.say(do="watch", url="rtsp://10.0.0.1/x")
        assert "--allow-urls" in (await page.hear("error"))["message"]

    run(body)


@pytest.mark.parametrize("url", ["", "0", "/dev/video0", "/etc/passwd", "file:///etc/passwd", "concat:a|b", "ftp://x/y",
                                 "sample", "rtsp:x", "http://" + "x" * 3000, "rtsp://a\x00b", "rtsp://\ud800", "http://a\nb"])
def test_only_network_cameras_can_be_named(url):
    async def body(open_page, seats):
        page = open_page()
        page.say(do="watch", url=url)
        assert "expected rtsp" in (await page.hear("error"))["message"]

    run(body, open_url=lambda url: pytest.fail(f"opened {url}"))


def test_a_camera_address_is_watched_and_its_failure_frees_the_seat():
    opened = []

    def open_url(url):
        if "bad" in url:
            raise UserError("rtsp://***@bad: no answer")
        opened.append(PushSource("rtsp://***@good"))
        return opened[-1]

    async def body(open_page, seats):
        page = open_page()
        page.say(do="watch", url="rtsp://me:secret@bad/x")
        assert "secret" not in (await page.hear("error"))["message"]
        assert seats.taken == 0
        page.say(do="watch", url="rtsp://me:secret@good/x")
        await page.hear("started")
        status = await page.hear("status")
        assert status["source"] == "rtsp://***@good"
        opened[0].end()
        await page.hear("ended", reason="the stream has ended")
        assert seats.taken == 0

    run(body, open_url=open_url)


def test_a_page_that_falls_silent_gives_its_seat_to_others():
    async def body(open_page, seats):
        page = open_page(idle_s=0.2)
        page.say(do="start")
        assert "no pictures" in (await page.hear("ended"))["reason"]
        assert seats.taken == 0

    run(body)


def test_a_page_that_leaves_while_its_model_is_opened_frees_it_afterwards():
    import threading

    opening, go_on = threading.Event(), threading.Event()

    def open_model(name):
        opening.set()
        assert go_on.wait(20)
        return fake_session()

    pool = ModelPool(("fake",), open_model)

    async def body(open_page, seats):
        page = open_page()
        page.say(do="start")
        await asyncio.to_thread(opening.wait, 10)
        page.task.cancel()
        await asyncio.gather(page.task, return_exceptions=True)
        assert seats.taken == 0
        go_on.set()
        for _ in range(200):
            if pool.users == 0 and pool._loaded:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the late lease was not freed")

    run(body, pool=pool)
