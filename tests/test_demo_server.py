"""The gate, the cookie and the files: what is reachable, by whom, and what is not."""

from __future__ import annotations

import time

import pytest
from demo_fakes import MODEL, fake_pool, write_video

pytest.importorskip("gradio")

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from demo.choices import Choices
from demo.gate import COOKIE
from demo.page import build_page, page_options
from demo.server import Backend, Limits, create_app
from demo.shelf import Shelf

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
    """A browser that has opened the page."""

    def visit() -> TestClient:
        client = TestClient(app_and_backend[0], base_url="http://127.0.0.1:7860")
        assert client.get("/").status_code == 200
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
    client = TestClient(app_and_backend[0])
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


def test_an_upload_is_readable_by_its_visitor_alone(visit, backend, clip):
    ann, bob = visit(), visit()
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
    client, before = visit(), len(backend.shelf)
    answer = upload(client, data, name)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert str(backend.shelf.root) not in answer.text
    assert len(backend.shelf) == before
    assert len(list(backend.shelf.root.iterdir())) == before


def test_a_body_that_hides_its_size_is_cut_off(visit, backend):
    def body():
        yield b"\x00\x00\x00\x20ftypisom"
        for _ in range(100):
            yield bytes(10_000)

    before = len(backend.shelf)
    answer = visit().post("/upload", content=body(), headers={"x-tab": TAB, "x-file-name": "x.mp4"})
    assert answer.status_code == 400
    assert "expected at most" in answer.json()["error"]
    assert len(backend.shelf) == before


def test_an_upload_without_the_cookie_is_refused(app_and_backend, clip):
    assert upload(TestClient(app_and_backend[0]), clip).status_code == 400


def test_a_stranger_cannot_analyse_anothers_upload(visit, backend, clip):
    from demo.video_tab import take_on
    from detector.errors import UserError

    ann, bob = visit(), visit()
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
    client = TestClient(app_and_backend[0])
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LINE + TAB, headers={"origin": ORIGIN}):
        pass


def test_a_proxy_may_say_under_which_name_the_page_is_known(visit, backend):
    named = {"origin": "https://demo.example", "x-forwarded-host": "demo.example"}
    with visit().websocket_connect(LINE + TAB, headers=named) as line:
        assert line.receive_json()["event"] == "hello"
        hang_up(line, lambda: TAB not in backend.tabs)


def test_the_page_gets_its_line_and_leaving_deletes_its_files(visit, backend, clip, monkeypatch):
    monkeypatch.setattr("demo.server.GRACE_S", 0.05)
    client, tab = visit(), "b" * 24
    key = upload(client, clip, tab=tab).json()["key"]
    path = backend.shelf.find(client.cookies[COOKIE], key).path
    with client.websocket_connect(LINE + tab, headers={"origin": ORIGIN}) as line:
        assert line.receive_json()["event"] == "hello"
        assert path.exists()
        hang_up(line, lambda: not path.exists())
    assert not path.exists()
