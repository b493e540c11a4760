"""Live cameras: lost, silent, refused, and back again. A small HTTP server stands in for the camera."""

import http.server
import socket
import threading
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
from conftest import number_of, numbered_picture
from stream_fakes import Clock

from detector.errors import UserError
from stream.sources import network
from stream.sources.decode import ConnectionLost
from stream.sources.network import open_network
from stream.sources.reconnect import Backoff, LiveCamera


class MjpegServer:
    """An MJPEG camera on a local port; `script` says for each connection how many pictures it gives.

    After its pictures a connection is closed, or, with `silent`, left open without a word until the server ends.
    """

    def __init__(self, script: list[int], silent: bool = False) -> None:
        server, script, self.paths = self, list(script), []
        self.over = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.paths.append(self.headers.get("Authorization"))
                if "Authorization" not in self.headers:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="door"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if not script:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for number in range(script.pop(0)):
                    data = cv2.imencode(".jpg", numbered_picture(number))[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                if silent:
                    self.wfile.flush()
                    server.over.wait(30)

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://user:secret@127.0.0.1:{self._server.server_port}/door?key=hidden"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class Waits:
    """Records waits instead of waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: list[str] = []
        self.camera = None

    def __call__(self, event, seconds):
        self.seconds.append(seconds)
        if self.camera is not None:
            self.statuses.append(self.camera.status.message)
        return event.is_set()


def test_a_camera_that_ends_is_connected_again_and_time_goes_on():
    waits = Waits()
    with MjpegServer([6, 6, 6, 6]) as server:
        camera = open_network(server.url, wait=waits, backoff=Backoff(jitter=lambda: 0.0))
        waits.camera = camera
        frames = list(islice(camera, 14))
        camera.close()
    assert [f.index for f in frames] == list(range(14))
    times = [f.time_s for f in frames]
    assert all(b > a for a, b in pairwise(times))
    assert camera.reconnects >= 2
    assert waits.seconds[:2] == [0.5, 1.0]
    assert all("camera offline" in status for status in waits.statuses)
    assert number_of(frames[0].image) == 0


def test_credentials_reach_the_camera_and_nothing_else():
    waits = Waits()
    with MjpegServer([6]) as server:
        camera = open_network(server.url, wait=waits)
        waits.camera = camera
        shown = [camera.name]
        for frame in camera:
            shown.append(repr(frame))
            if frame.index == 4:
                break
        list(islice(camera, 0))
        assert server.paths[-1].startswith("Basic ")
    for text in shown + waits.statuses:
        assert "secret" not in text
        assert "hidden" not in text
    assert "127.0.0.1" in camera.name


def test_a_silent_camera_is_given_up_and_connected_again(monkeypatch):
    monkeypatch.setattr(network, "READ_TIMEOUT_S", 0.4)
    waits = Waits()
    with MjpegServer([6, 6], silent=True) as server:
        camera = open_network(server.url, wait=waits)
        waits.camera = camera
        frames = list(islice(camera, 8))
        camera.close()
    assert len(frames) == 8
    assert "fell silent" in waits.statuses[0]


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_never_answers_is_one_line(monkeypatch, scheme):
    monkeypatch.setattr(network, "OPEN_TIMEOUT_S", 0.4)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(UserError, match=r"no answer within 0.4 s") as caught:
            open_network(f"{scheme}://user:secret@127.0.0.1:{mute.getsockname()[1]}/x")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("url", "says"), [
    ("http://user:secret@127.0.0.1:9/x", "Connection refused"),
    ("rtsp://user:secret@127.0.0.1:9/x", "Connection refused"),
    ("nonsense://user:secret@host/x", "Protocol not found"),
    ("http://user:secret@host:port/x", "cannot be opened"),
])
def test_an_unreachable_address_is_one_line_without_credentials(url, says):
    with pytest.raises(UserError, match=says) as caught:
        open_network(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_page_is_one_line():
    with MjpegServer([]) as server, pytest.raises(UserError, match="404"):
        open_network(server.url)


def test_waits_double_up_to_a_limit_and_start_again_after_a_good_connection():
    backoff = Backoff(first_s=1, most_s=8, stable_s=10, jitter=lambda: 0.0, early_s=0)
    assert [backoff.next_wait_s(0) for _ in range(5)] == [1, 2, 4, 8, 8]
    backoff.connected(100)
    assert backoff.next_wait_s(105) == 8  # it did not hold
    backoff.connected(200)
    assert backoff.next_wait_s(211) == 1


def test_a_connection_that_held_and_gave_pictures_all_the_while_starts_from_the_beginning():
    backoff = Backoff(jitter=lambda: 0.0)
    for _ in range(9):
        backoff.next_wait_s(0)
    for i in range(110):
        backoff.connected(300 + i / 10)
    assert backoff.next_wait_s(311) == 0.5


@pytest.mark.parametrize("connections_s", [[], [30.0], [5.0, 10.0, 15.0, 20.0, 25.0]])
def test_a_server_that_is_back_is_found_soon_for_two_minutes_and_seldom_bothered_after(connections_s):
    backoff = Backoff(jitter=lambda: 0.0)
    for at_s in connections_s:  # short ones: a picture, and gone
        backoff.next_wait_s(at_s - 1)
        backoff.connected(at_s)
    lost_s = now = connections_s[-1] if connections_s else 0.0
    attempts = []
    while now < lost_s + 600:
        now += backoff.next_wait_s(now)
        attempts.append(now - lost_s)
    early = [b - a for a, b in pairwise([0.0, *attempts]) if a < 120]
    assert max(early) <= 2.0
    late = [b - a for a, b in pairwise(attempts) if a > 150]
    assert set(late) == {15.0}


def test_waits_are_spread_downwards_only():
    assert Backoff(first_s=1, jitter=lambda: 1.0).next_wait_s(0) == 0.75


class Scripted:
    """A connection that gives so many pictures and then fails."""

    fps = 10.0

    def __init__(self, pictures: int) -> None:
        self.pictures, self.closed = pictures, False

    def __iter__(self):
        for _ in range(self.pictures):
            yield np.zeros((4, 4, 3), np.uint8), None
        raise ConnectionLost("cable: gave no picture")

    def close(self):
        self.closed = True


def test_every_connection_is_let_go_and_failed_attempts_are_tried_again():
    made: list[Scripted] = []
    outcomes = iter([3, None, None, 2])

    def connect():
        pictures = next(outcomes)
        if pictures is None:
            raise UserError("cable: not there; plug it in")
        made.append(Scripted(pictures))
        return made[-1]

    waits = Waits()
    camera = LiveCamera("cable", connect, wait=waits, backoff=Backoff(jitter=lambda: 0.0))
    waits.camera = camera
    frames = list(islice(camera, 5))
    camera.close()
    assert len(frames) == 5
    assert camera.status.online
    assert waits.seconds == [0.5, 1.0, 2.0]
    assert waits.statuses[1] == "camera offline: not there; next attempt in 1 s"
    assert made[0].closed


def test_the_text_counts_down_and_says_when_it_is_connecting():
    clock, texts = Clock(), []
    outcomes = iter([Scripted(1), UserError("cable: 401 Unauthorized; is the password right?"), Scripted(1)])

    def connect():
        texts.append(camera.status.message if made else "")
        made.append(1)
        outcome = next(outcomes)
        if isinstance(outcome, UserError):
            raise outcome
        return outcome

    def wait(event, seconds):
        for left_s in (seconds, seconds / 2):
            clock.now_s += seconds - left_s
            texts.append(camera.status.message)
        clock.now_s += seconds / 2
        return False

    made = []
    camera = LiveCamera(
        "cable", connect, wait=wait, clock=clock,
        backoff=Backoff(first_s=2.0, jitter=lambda: 0.0, early_most_s=8.0, blink_most_s=8.0),
    )
    list(islice(camera, 2))
    assert texts == [
        "", "camera offline: gave no picture; next attempt in 2 s",
        "camera offline: gave no picture; next attempt in 1 s",
        "camera offline: gave no picture; connecting", "camera offline: 401 Unauthorized; next attempt in 4 s",
        "camera offline: 401 Unauthorized; next attempt in 2 s", "camera offline: 401 Unauthorized; connecting",
    ]
    assert [s.reason for s in camera.changes()] == ["gave no picture", "401 Unauthorized", ""]


@pytest.mark.parametrize(("url", "raises"), [
    ("rtsp://user:p@ss/word@127.0.0.1:{closed}/x", True), ("http://127.0.0.1:{closed}/x?a=b@c", True),
    ("rtsp://127.0.0.1:{open}/x", False), ("rtsp://user:secret@127.0.0.1:{open}", False),
    ("udp://127.0.0.1:{closed}", False), ("srt://127.0.0.1:{closed}", False),
    ("rtsp://user:secret@no-such-host.invalid/x", True), ("rtsp://127.0.0.1:99999/x", True),
    ("rtsp://a:b:c/x", True),
])
def test_a_knock_tells_whether_anybody_listens(url, raises):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = url.format(open=listener.getsockname()[1], closed=held.getsockname()[1])
        if not raises:
            network.knock(url)
            return
        with pytest.raises(UserError) as caught:
            network.knock(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_first_connection_must_work():
    def connect():
        raise UserError("cable: not there")

    with pytest.raises(UserError, match="not there"):
        LiveCamera("cable", connect)


def test_a_closed_camera_is_not_connected_again():
    camera = LiveCamera("cable", lambda: Scripted(2), wait=lambda event, seconds: event.is_set())
    frames = []
    for frame in camera:
        frames.append(frame)
        if len(frames) == 2:
            camera.close()
    assert len(frames) == 2


def test_a_file_on_a_server_is_worked_through_like_a_file(write_video, tmp_path):
    write_video(frames=12)
    handler = lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(tmp_path))  # noqa: E731
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.server.SimpleHTTPRequestHandler.log_message = lambda *args: None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        source = open_network(f"http://127.0.0.1:{server.server_port}/clip.mp4")
        assert not source.live
        assert len(list(source)) == 12
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
