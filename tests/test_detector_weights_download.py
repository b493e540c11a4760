"""Downloads against a server that misbehaves in each way that real ones do."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from detector.errors import UserError
from detector.weights import download
from detector.weights.download import Patience, checked_against, fetch_file, first_facts
from detector.weights.records import WeightsFile

QUICK = Patience(connect_s=2, stall_s=0.4, backoff_s=0.01, tries=3)


def _weights_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model_state": {"a": torch.arange(40000)}}, buffer)
    return buffer.getvalue()


BODY = _weights_bytes()
PACKED = gzip.compress(BODY, 1)
HALF = len(BODY) // 2
LOST = 1 << 14  # of the last chunk before a break


class Server(ThreadingHTTPServer):
    """Serves `body` and misbehaves as told; `asked` holds the Range header of each request (or None)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.etag = '"one"'
        self.asked: list[str | None] = []
        self.plan: list[str] = []  # how to misbehave, one word a request; then behave
        self.released = threading.Event()
        self.sent = 0

    def url(self, name: str = "weights.pt") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range"))
        act = server.plan.pop(0) if server.plan else "behave"
        if act.isdigit():
            self._answer(int(act), b"no", "text/plain")
        elif act == "html":
            self._answer(200, b"<!DOCTYPE html><html>Log in</html>", "text/html; charset=utf-8")
        elif act == "html-as-bytes":
            self._answer(200, b"<!DOCTYPE html><html>Log in</html>", "application/octet-stream")
        elif act.startswith("wait "):
            self._answer(503, b"no", "text/plain", {"Retry-After": act.removeprefix("wait ")})
        elif act == "gzip":
            self._answer(200, PACKED, "application/octet-stream", {"Content-Encoding": "gzip"})
        elif act == "endless":
            self._endless()
        else:
            self._send_file(act)

    def _endless(self) -> None:
        """Chunks without a last one, until nobody reads them."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while not self.server.released.is_set():
                self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                self.server.sent += 0x10000

    def _send_file(self, act: str) -> None:
        server, start = self.server, 0
        wanted = self.headers.get("Range")
        fits = self.headers.get("If-Range") == server.etag or act.startswith("ignore-if-range")
        if wanted and act != "ignore-range" and fits:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if act not in ("no-etag", "ignore-if-range, no-etag"):
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if act in ("truncate", "no-etag"):
            rest = rest[: max(HALF - start, 0)]
        elif act == "stall":
            self.wfile.write(rest[: HALF - start])
            self.wfile.flush()
            server.released.wait(10)
            self.close_connection = True
            return
        self.wfile.write(rest)
        self.close_connection = self.close_connection or act != "behave"

    def _answer(self, code: int, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join(5)
        assert not thread.is_alive()


def record(server: Server, **more) -> WeightsFile:
    return WeightsFile(server.url(), "weights.pt", **more)


def resumed_at(server: Server) -> int:
    return int(server.asked[-1].removeprefix("bytes=").rstrip("-"))


def test_a_good_server_gives_the_file_and_leaves_no_scraps(server, tmp_path):
    path = fetch_file(record(server, sha256=hashlib.sha256(BODY).hexdigest()), tmp_path / "cache", QUICK)
    assert path.read_bytes() == BODY
    names = {p.name for p in path.parent.iterdir()} - {"weights.pt.lock"}
    assert names == {"weights.pt", "weights.pt.sha256.json"}


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"here")
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == b"here"
    assert server.asked == []


@pytest.mark.parametrize("trouble", ["truncate", "stall"])
def test_a_broken_body_is_resumed_where_it_ended(server, tmp_path, trouble):
    server.plan = [trouble]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY
    assert server.asked[0] is None
    assert HALF - LOST < resumed_at(server) <= HALF


def test_a_later_run_resumes_what_an_earlier_one_left(server, tmp_path):
    server.plan = ["truncate", "404"]
    with pytest.raises(UserError, match="not there any more"):
        fetch_file(record(server), tmp_path, QUICK)
    left = (tmp_path / "weights.pt.part").stat().st_size
    assert HALF - LOST < left <= HALF
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY
    assert resumed_at(server) == left


def test_a_server_that_ignores_ranges_sends_all_again(server, tmp_path):
    server.plan = ["truncate", "ignore-range"]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY


def test_without_a_validator_the_file_is_fetched_from_the_start(server, tmp_path):
    server.plan = ["no-etag"]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY
    assert server.asked == [None, None]


def test_a_file_that_changed_between_two_tries_is_not_stitched_together(server, tmp_path):
    server.plan = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch_file(record(server), tmp_path, QUICK)
    server.etag, server.body = '"two"', BODY[::-1]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY[::-1]


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.plan = ["500", "503"]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY
    assert len(server.asked) == 3


def test_a_server_that_never_sends_a_new_byte_is_given_up(server, tmp_path):
    server.plan = ["truncate"] * 20
    with pytest.raises(UserError, match="Run the same command again"):
        fetch_file(record(server), tmp_path, QUICK)
    assert len(server.asked) == 4  # the first brought bytes, then `tries` that brought none


@pytest.mark.parametrize(
    ("plan", "known", "message"),
    [
        (["404"], {}, "not there any more"),
        (["403"], {}, "HTTP 403"),
        (["500"] * 9, {}, "HTTP 500"),
        (["html"], {}, "got an HTML page"),
        (["html-as-bytes"], {}, "got an HTML page"),
        ([], {"sha256": "00000000"}, "sha256 is .* expected 00000000"),
        ([], {"md5_prefix": "000000"}, "md5 is .* expected 000000"),
        ([], {"size_bytes": 7}, r"got \d+ bytes, expected 7"),
    ],
)
def test_each_wrong_answer_is_one_line_and_leaves_no_file(server, tmp_path, plan, known, message):
    server.plan = list(plan)
    with pytest.raises(UserError, match=message) as caught:
        fetch_file(record(server, **known), tmp_path, QUICK)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "weights.pt").exists()
    assert not (tmp_path / "weights.pt.part").exists()


def test_a_zip_cut_off_by_its_publisher_is_noticed(server, tmp_path):
    server.body = BODY[:HALF]
    with pytest.raises(UserError, match="cut off"):
        fetch_file(record(server), tmp_path, QUICK)


def test_an_empty_answer_is_noticed(server, tmp_path):
    server.body = b""
    with pytest.raises(UserError, match="empty"):
        fetch_file(record(server), tmp_path, QUICK)


@pytest.mark.parametrize("trouble", ["ignore-if-range", "ignore-if-range, no-etag"])
def test_a_server_that_ignores_if_range_does_not_stitch_two_files(server, tmp_path, trouble):
    server.plan = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch_file(record(server), tmp_path, QUICK)
    server.etag, server.body, server.plan = '"two"', BODY[::-1], [trouble]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("known", [{"size_bytes": 300_000}, {}])
def test_a_body_without_an_end_is_cut(server, tmp_path, known, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 400_000)
    server.plan = ["endless"]
    with pytest.raises(UserError, match=r"more than \d+ bytes came.*thrown away"):
        fetch_file(record(server, **known), tmp_path, QUICK)
    server.released.set()
    assert {p.name for p in tmp_path.iterdir()} <= {"weights.pt.lock"}


def test_a_longer_file_than_known_is_not_fetched_at_all(server, tmp_path):
    with pytest.raises(UserError, match=rf"{len(BODY)} bytes, expected 1000; not fetched"):
        fetch_file(record(server, size_bytes=1000), tmp_path, QUICK)


@pytest.mark.parametrize("wait", ["100000", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_asks_to_wait_for_a_day_is_not_waited_for(server, tmp_path, wait):
    server.plan = [f"wait {wait}"] * 9
    with pytest.raises(UserError, match=r"asks to wait \d+ s; run the same command again") as caught:
        fetch_file(record(server), tmp_path, QUICK)
    assert len(server.asked) == 1
    assert "\n" not in str(caught.value)


def test_a_short_wait_is_granted(server, tmp_path):
    server.plan = ["wait 0", "wait 0"]
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY


def test_a_packed_body_is_not_unpacked_unasked(server, tmp_path):
    server.plan = ["gzip"]
    with pytest.raises(UserError, match="packed with gzip"):
        fetch_file(record(server), tmp_path, QUICK)
    assert not (tmp_path / "weights.pt").exists()


def test_the_first_download_is_remembered_and_later_ones_are_held_against_it(server, tmp_path):
    path = fetch_file(record(server), tmp_path, QUICK)
    facts = first_facts(path)
    assert (facts.size_bytes, facts.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    path.unlink()
    assert fetch_file(record(server), tmp_path, QUICK).read_bytes() == BODY
    path.unlink()
    server.body = _other_bytes()
    with pytest.raises(UserError, match=r"the first download had .* thrown away"):
        fetch_file(record(server), tmp_path, QUICK)
    assert not path.exists()
    assert first_facts(path) == facts


def test_a_cached_file_that_changed_is_named_when_it_is_fetched(server, tmp_path):
    path = fetch_file(record(server), tmp_path, QUICK)
    path.write_bytes(_other_bytes())
    with pytest.raises(UserError, match="delete it and fetch it again"):
        fetch_file(record(server), tmp_path, QUICK)


@pytest.mark.parametrize(("known", "words"), [
    ({"sha256": "907ea3f9"}, "publisher's SHA-256 907ea3f9…"), ({"md5_prefix": "280758"}, "publisher's MD5 280758…"),
    ({}, "first download's SHA-256"),
])
def test_what_is_checked_is_said(server, known, words):
    assert words in checked_against(record(server, **known))


def _other_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model_state": {"a": torch.arange(40000) + 1}}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://no-such-host.invalid/w.pt", "name is not known"), ("http://127.0.0.1:9/w.pt", "connection refused")],
)
def test_offline_says_so_and_where_to_copy_the_file(tmp_path, monkeypatch, url, words):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=words) as caught:
        fetch_file(WeightsFile(url, "w.pt"), tmp_path, QUICK)
    assert str(tmp_path / "w.pt") in str(caught.value)
    assert "online" in str(caught.value)


def test_a_folder_that_cannot_be_made_names_the_variable(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="SLOWFAST_CACHE"):
        fetch_file(record(server), tmp_path / "file" / "cache", QUICK)


def test_two_at_once_fetch_it_only_once(server, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_file(record(server), tmp_path, QUICK)), daemon=True)
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [path.read_bytes() == BODY for path in found] == [True] * 3
    assert len(server.asked) == 1
