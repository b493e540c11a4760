"""The gate, the cookie and the files: what is reachable, by whom, and what is not."""

from __future__ import annotations

import asyncio
import time

import pytest
from demo_fakes import MODEL, fake_pool, write_video

pytest.importorskip("gradio")

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from demo.choices import Choices
from demo.gate import COOKIE
from demo.page import build_page, page_options
from demo.pool import Busy
from demo.server import Backend, Limits, create_app
from demo.shelf import Shelf
from demo.uploads import Pace, Stalled, take_upload
from detector.errors import UserError

TAB = "a" * 24
ORIGIN, LINE = "http://127.0.0.1:7860", "ws://127.0.0.1:7860/line?tab="


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", [0.3] * 15).read_bytes()


@pytest.fixture(scope="module")
def app_and_backend():
    limits = Limits(visitors=2, upload_bytes=300_000, video_s=5)
    backend = Backend(fake_pool(), limits, Choices("fake", 0.5), shelf=Shelf(max_per_visitor=50))
    app = create_app(backend, lambda b: build_page(b, {"fake": MODEL}), page_options())
    yield app, backend
    backend.close()


@pytest.fixture
def backend(app_and_backend):
    return app_and_backend[1]


@pytest.fixture
def visit(app_and_backend):
    """A browser that has opened the page; with `line` the page has had its line."""
    app, backend = app_and_backend

    def visit(line: bool = False, tab: str = TAB) -> TestClient:
        client = TestClient(app, base_url=ORIGIN)
        assert client.get("/").status_code == 200
        if line:
            with client.websocket_connect(LINE + tab, headers={"origin": ORIGIN}) as socket:
                assert socket.receive_json()["event"] == "hello"
                hang_up(socket, lambda: tab not in backend.tabs)
        return client

    return visit


def upload(client, data, name="clip.mp4", tab=TAB):
    return client.post("/upload", content=data, headers={"x-tab": tab, "x-file-name": name})


def hang_up(line, until) -> None:
    """Leave, and wait for what the server does then: the client's event loop ends with its `with` block."""
    line.close()
    for _ in range(200):
        if until():
            return
        time.sleep(0.05)
    raise AssertionError("the server did not notice")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(app_and_backend):
    client = TestClient(app_and_backend[0], base_url=ORIGIN)
    cookie = client.get("/").headers["set-cookie"]
    assert cookie.startswith(COOKIE + "=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "set-cookie" not in client.get("/").headers


def test_the_page_names_no_other_host(visit):
    page = visit().get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    # Links that a person may click are no loads; scripts, styles and fonts would be.
    loads = [part.split('"')[0] for attribute in ('src="', "@import ") for part in page.text.split(attribute)[1:]]
    assert not [load for load in loads if "//" in load.removeprefix("http://127.0.0.1:7860")]
    assert "fonts.googleapis" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://example.com/", "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://example.com/", "/proxy=http://example.com/", "/gradio_api/upload_progress",
        "/static/../../../etc/passwd", "/assets/..%2f..%2f..%2fetc/passwd", "/files/x/..%2f..%2fetc%2fpasswd", "/docs",
        "/openapi.json", "/monitoring", "/gradio_api/deep_link", "/login", "/gradio_api/info",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/custom_component/x", "/files//etc/passwd", "/upload", "//etc/passwd", "/assets/%2e%2e/%2e%2e/setup.cfg",
    ],
)
def test_what_the_page_does_not_need_is_not_there(visit, path):
    answer = visit().get(path)
    assert answer.status_code in (404, 405)
    assert "root:" not in answer.text


def test_gradios_own_upload_is_shut(visit):
    client = visit()
    assert client.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}).status_code == 404


FILE = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "data",
    [[FILE] * 8, [[FILE]], [{**FILE, "path": "http://127.0.0.1:1/x"}], [{"a": FILE}], [[["a"]]], [[1]], FILE],
)
def test_events_that_name_files_never_reach_gradio(visit, monkeypatch, tmp_path, data):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    event = {"data": data, "fn_index": 8, "session_hash": "abcdefgh", "event_data": None, "trigger_id": None}
    assert visit().post("/gradio_api/queue/join", json=event).status_code == 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 5000, b'{"data": "x"}', b"\xff", b" " * 300_000])
def test_events_that_are_none_never_reach_gradio(visit, body):
    assert visit().post("/gradio_api/queue/join", content=body).status_code == 400


def test_the_pages_own_events_do_reach_gradio(visit):
    data = ["", TAB, "fake", "now", 0.5, True, 0.5, ["walk"]]
    event = {"data": data, "fn_index": 8, "session_hash": "abcdefgh", "event_data": None, "trigger_id": None}
    answer = visit().post("/gradio_api/queue/join", json=event)
    assert answer.status_code == 200
    assert "event_id" in answer.json()


GOOD = ["", TAB, "fake", "now", 0.5, True, 0.5, ["walk"]]


@pytest.mark.parametrize(("number", "data"), [
    (999, GOOD), (-1, GOOD), (10**30, GOOD), (True, GOOD), (None, GOOD), ("8", GOOD), ({}, GOOD), (8.0, GOOD),
    (8, []), (8, GOOD[:3]), (8, [*GOOD, ""]), (8, [*GOOD[:2], "none", *GOOD[3:]]), (8, [*GOOD[:3], "x", *GOOD[4:]]),
    (8, [*GOOD[:4], None, *GOOD[5:]]), (8, [*GOOD[:4], "x", *GOOD[5:]]), (8, [*GOOD[:4], 9e9, *GOOD[5:]]),
    (8, [*GOOD[:7], "walk"]), (8, [None] * 8),
])
def test_events_that_the_controls_do_not_give_never_reach_gradio(visit, number, data):
    event = {"data": data, "fn_index": number, "session_hash": "abcdefgh", "event_data": None, "trigger_id": None}
    assert visit().post("/gradio_api/queue/join", json=event).status_code == 400


def test_an_upload_is_readable_by_its_visitor_alone(visit, backend, clip):
    ann, bob = visit(line=True), visit(line=True)
    answer = upload(ann, clip)
    assert answer.status_code == 200, answer.text
    key = answer.json()["key"]
    folder = backend.shelf.find(ann.cookies[COOKIE], key)
    folder.serve("annotated.mp4", "video/mp4", "clip annotated.mp4").write_bytes(b"0123456789")
    mine = ann.get(f"/files/{key}/annotated.mp4")
    assert mine.content == b"0123456789"
    assert "no-store" in mine.headers["cache-control"]
    assert mine.headers["x-content-type-options"] == "nosniff"
    assert ann.get(f"/files/{key}/annotated.mp4", headers={"range": "bytes=2-4"}).content == b"234"
    assert "attachment" in ann.get(f"/files/{key}/annotated.mp4?download=1").headers["content-disposition"]
    assert bob.get(f"/files/{key}/annotated.mp4").status_code == 404
    for name in ("upload.mp4", "..%2fupload.mp4", "%2e%2e", "annotated.mp4%00"):
        assert ann.get(f"/files/{key}/{name}").status_code == 404


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        (b"# hello\n" * 500, "notes.mp4", "not a video"), (b"", "empty.mp4", "empty"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "list.mp4", "not a video"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(2000), "x.mp4", "expected a video"),
        (b"\x00\x00\x00\x20ftyp" + bytes(300_001), "big.mp4", "at most 0 MB"),
    ],
)
def test_what_is_no_good_is_refused_and_deleted(visit, backend, data, name, says):
    client, before = visit(line=True), len(backend.shelf)
    answer = upload(client, data, name)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert str(backend.shelf.root) not in answer.text
    assert len(backend.shelf) == before
    assert len([path for path in backend.shelf.root.iterdir() if path.is_dir()]) == before


def test_a_body_that_hides_its_size_is_cut_off(visit, backend):
    def body():
        yield b"\x00\x00\x00\x20ftypisom"
        for _ in range(100):
            yield bytes(10_000)

    before = len(backend.shelf)
    answer = visit(line=True).post("/upload", content=body(), headers={"x-tab": TAB, "x-file-name": "x.mp4"})
    assert answer.status_code == 400
    assert "expected at most" in answer.json()["error"]
    assert len(backend.shelf) == before


def test_an_upload_without_the_cookie_is_refused(app_and_backend, clip):
    answer = upload(TestClient(app_and_backend[0], base_url=ORIGIN), clip)
    assert answer.status_code == 400
    assert "no cookie" in answer.json()["error"]


@pytest.mark.parametrize("cookie", ["x" * 24, None], ids=["made up", "given"])
def test_an_upload_without_an_open_page_is_refused(visit, backend, clip, cookie):
    client = visit()
    if cookie:
        client.cookies.set(COOKIE, cookie)
    answer = client.post("/upload", content=clip, headers={"x-tab": "n" * 24, "x-file-name": "clip.mp4"})
    assert answer.status_code == 400
    assert "page is not open" in answer.json()["error"]
    assert len(backend.uploads) == 0


def test_anothers_open_page_does_not_let_one_upload(visit, backend, clip):
    visit(line=True, tab="o" * 24)
    answer = upload(visit(), clip, tab="o" * 24)
    assert "page is not open" in answer.json()["error"]


async def send_slowly(backend, visitor, chunks, clock=None, address="192.0.2.1", tab=TAB):
    """Hand an upload to the server by hand; `chunks` are bytes, or None for a silence without end."""
    from starlette.requests import Request

    waiting = list(chunks)

    async def receive():
        chunk = waiting.pop(0) if waiting else b""
        if chunk is None:
            await asyncio.Event().wait()
        if clock is not None:
            clock[0] += 1.0
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    headers = [(b"cookie", f"{COOKIE}={visitor}".encode()), (b"x-tab", tab.encode()), (b"x-file-name", b"a.mp4")]
    scope = {"type": "http", "method": "POST", "path": "/upload", "headers": headers, "client": (address, 1)}
    return await take_upload(backend, Request(scope, receive))


HEAD = b"\x00\x00\x00\x20ftypisom" + bytes(2000)


@pytest.fixture
def waiting_room():
    """A server for uploads alone, with three visitors who have pages."""
    backend = Backend(fake_pool(), Limits(2, 300_000_000, 5), Choices("fake", 0.5))
    for visitor in "abcdefghij":
        backend.tabs.open(TAB, visitor * 24, "192.0.2.1")
    yield backend
    backend.close()


@pytest.mark.parametrize("chunks", [[None], [HEAD, None], [b"x", None]], ids=["nothing", "a head", "a byte"])
def test_an_upload_that_stalls_ends_and_leaves_nothing(waiting_room, chunks):
    waiting_room.uploads.pace = Pace(silence_s=0.05)
    with pytest.raises(Stalled, match="nothing came for"):
        asyncio.run(asyncio.wait_for(send_slowly(waiting_room, "a" * 24, chunks), 20))
    assert (len(waiting_room.uploads), len(waiting_room.shelf)) == (0, 0)


def test_an_upload_that_drips_ends(waiting_room):
    clock = [0.0]
    waiting_room.uploads.pace = Pace(window_s=20.0, window_bytes=200_000, clock=lambda: clock[0])
    with pytest.raises(Stalled, match="too slowly"):
        asyncio.run(send_slowly(waiting_room, "a" * 24, [HEAD] + [b"x" * 100] * 30, clock))
    assert clock[0] < 25
    assert len(waiting_room.shelf) == 0


def test_an_upload_over_a_thin_line_goes_on(waiting_room, clip):
    clock = [0.0]
    waiting_room.uploads.pace = Pace(window_s=20.0, window_bytes=len(clip) // 8, clock=lambda: clock[0])
    parts = [clip[i:i + len(clip) // 100] for i in range(0, len(clip), len(clip) // 100)]
    folder, info = asyncio.run(send_slowly(waiting_room, "a" * 24, parts, clock))
    assert clock[0] > 90
    assert (folder.shown_name, info.width) == ("a.mp4", 320)


def test_an_upload_ends_when_its_page_is_closed(waiting_room):
    visitor = "a" * 24
    waiting_room.tabs.hang_up(TAB, visitor)

    async def leave_meanwhile():
        sending = asyncio.create_task(send_slowly(waiting_room, visitor, [HEAD] * 3))
        assert waiting_room.tabs.forget(TAB, visitor)
        await sending

    with pytest.raises(UserError, match="page"):
        asyncio.run(leave_meanwhile())


def test_one_address_cannot_take_every_place_for_uploads(waiting_room):
    async def flood():
        tasks = [
            asyncio.create_task(send_slowly(waiting_room, visitor * 24, [HEAD, None])) for visitor in "abcdef"
        ]
        await asyncio.sleep(0.1)
        held = len(waiting_room.uploads)
        other = asyncio.create_task(send_slowly(waiting_room, "g" * 24, [HEAD, None], address="192.0.2.9"))
        await asyncio.sleep(0.1)
        both = len(waiting_room.uploads)
        for task in (*tasks, other):
            task.cancel()
        ends = await asyncio.gather(*tasks, other, return_exceptions=True)
        return held, both, [type(end) for end in ends]

    held, both, ends = asyncio.run(flood())
    assert (held, both) == (3, 4)
    assert ends.count(Busy) == 3
    assert (len(waiting_room.uploads), len(waiting_room.shelf)) == (0, 0)


def test_a_full_line_of_videos_leaves_no_folder_behind(waiting_room, monkeypatch):
    from demo.video_tab import samples, take_on

    def full(job):
        raise Busy("full")

    monkeypatch.setattr(waiting_room.jobs, "submit", full)
    with pytest.raises(Busy):
        take_on(waiting_room, "a" * 24, TAB, f"sample:{next(iter(samples()))}", Choices("fake", 0.5))
    assert len(waiting_room.shelf) == 0


@pytest.mark.parametrize(("visitor", "tab", "key"), [
    ("n" * 24, TAB, "sample:x"), ("a" * 24, "n" * 24, "sample:x"), ("a" * 24, TAB, None), ("a" * 24, TAB, 7),
    ("a" * 24, {}, "x"), ("a" * 24, [], "x"), ("", TAB, "x"),
])
def test_videos_are_analysed_for_open_pages_alone(waiting_room, visitor, tab, key):
    from demo.video_tab import take_on

    with pytest.raises(UserError, match="lost its session"):
        take_on(waiting_room, visitor, tab, key, Choices("fake", 0.5))
    assert len(waiting_room.shelf) == 0


def test_a_stranger_cannot_analyse_anothers_upload(visit, backend, clip):
    from demo.video_tab import take_on

    ann, bob = visit(line=True), visit(line=True)
    key = upload(ann, clip).json()["key"]
    with pytest.raises(UserError, match="not here any more"):
        take_on(backend, bob.cookies[COOKIE], TAB, key, Choices("fake", 0.5))
    for wrong in ("../../etc", "sample:../../etc/passwd", "", "sample:"):
        with pytest.raises(UserError):
            take_on(backend, ann.cookies[COOKIE], TAB, wrong, Choices("fake", 0.5))


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", ""])
def test_other_sites_get_no_line(visit, origin):
    client = visit()
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LINE + TAB, headers={"origin": origin}):
        pass


def test_strangers_without_the_cookie_get_no_line(app_and_backend):
    client = TestClient(app_and_backend[0], base_url=ORIGIN)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LINE + TAB, headers={"origin": ORIGIN}):
        pass


def test_the_page_gets_its_line_and_leaving_deletes_its_files(visit, backend, clip, monkeypatch):
    monkeypatch.setattr("demo.server.GRACE_S", 0.05)
    tab = "b" * 24
    client = visit()
    with client.websocket_connect(LINE + tab, headers={"origin": ORIGIN}) as line:
        assert line.receive_json()["event"] == "hello"
        key = upload(client, clip, tab=tab).json()["key"]
        path = backend.shelf.find(client.cookies[COOKIE], key).path
        assert path.exists()
        hang_up(line, lambda: not path.exists())
    assert not path.exists()
