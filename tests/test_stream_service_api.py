"""The service and its API on fakes: state, pictures, answers, changes, reload; who may not ask is refused."""

import json
import re
import threading

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
from stream_fakes import fake_session
from stream_service_fakes import FakeCamera, wait_until

from detector.errors import UserError
from stream.service.api import ApiServer
from stream.service.running import Service
from stream.service.sharing import Sharing
from stream.service.status import caption, fetch, table, title

TOKEN = "0123456789abcdef"
TEXT = f"""\
defaults: {{every: 0.02, motion: {{gate: false}}}}
server: {{port: 0, token: {TOKEN}}}
cameras:
  a: {{source: rtsp://admin:hunter2@host/a, silent_limit: 5}}
  b: {{source: b, pictures: none, actions: [walk]}}
  c: {{source: c, enabled: false}}
"""


class Running:
    """A service on fake cameras that is served."""

    def __init__(self, tmp_path, text=TEXT):
        self.path = tmp_path / "cameras.yaml"
        self.path.write_text(text)
        self.session, _, self.engine = fake_session()
        self.sources = {}
        self.service = Service(
            self.path, environ={}, open_camera=self.open, check=lambda described: None,
            create_sharing=lambda meter: Sharing(open_model=lambda *_: self.session, meter=meter, on_gpu=False),
        )
        self.service.start()
        self.api = ApiServer(self.service, self.service.described.file.server)
        self.loop = threading.Thread(target=self.service.run)
        self.loop.start()
        self.client = httpx.Client(base_url=self.api.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)

    def open(self, settings, keys_only):
        return self.sources.setdefault(settings.watched, FakeCamera())

    def feed(self, until, *names):
        def fed():
            for name in names:
                if name in self.sources:
                    self.sources[name].show(step_s=0.02)  # no faster than the test turns
            return until()

        wait_until(fed)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.client.close()
        for source in self.sources.values():
            source.close()
        self.service.close(10)
        self.loop.join(20)
        assert self.api.close(10)


A = "rtsp://admin:hunter2@host/a"


@pytest.fixture
def running(tmp_path):
    with Running(tmp_path) as made:
        yield made


def answered(running, name="a"):
    camera = running.service.supervisor.camera(name)
    return lambda: camera.last_answer is not None and len(camera.last_answer.detections) > 0


def test_state_answers_and_pictures_are_served_without_secrets(running):
    running.feed(answered(running), A, "b")
    running.feed(answered(running, "b"), A, "b")
    everything = running.client.get("/api/cameras")
    assert [camera["name"] for camera in everything.json()["cameras"]] == ["a", "b", "c"]
    one = running.client.get("/api/cameras/a").json()
    assert one["state"] == "online"
    assert one["last_answer"]["source"] == "a"
    assert one["last_answer"]["people"]
    picture = running.client.get("/api/cameras/a/picture.jpg")
    assert cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)
    assert running.client.get("/api/cameras/b/picture.jpg").status_code == 404
    assert running.client.get("/api/cameras/b/video").status_code == 404
    assert {a["name"] for p in running.client.get("/api/cameras/b").json()["last_answer"]["people"]
            for a in p["actions"]} <= {"walk"}
    for page in ("/api/cameras", "/api/cameras/a", "/metrics", "/docs", "/openapi.json"):
        assert "hunter2" not in running.client.get(page).text


def test_metrics_tell_each_camera_and_the_parts_of_the_delay(running):
    running.feed(answered(running), A)
    text = running.client.get("/metrics").text
    assert 'slowfast_camera_online{camera="a"} 1.0' in text
    assert 'slowfast_camera_wanted{camera="c"} 0.0' in text
    assert float(re.search(r'slowfast_pictures_total\{camera="a",kind="taken"\} (\S+)', text).group(1)) > 0
    for part in ("look_ahead", "waiting", "detector", "network", "total"):
        count = re.search(rf'slowfast_delay_seconds_count\{{camera="a",part="{part}"\}} (\S+)', text)
        assert float(count.group(1)) >= 1
    assert 'slowfast_batch_clips_count{model="tiny"}' in text
    running.service.supervisor.remove("a")
    assert 'camera="a"' not in running.client.get("/metrics").text


def test_health_is_red_with_the_camera_that_is_silent(running):
    assert running.client.get("/health/live").status_code == 200
    running.feed(lambda: running.client.get("/health/ready").status_code == 200, A, "b")
    camera = running.service.supervisor.camera("a")
    camera._seen_s -= 60
    camera._stop.set()  # its thread reads no more
    red = running.client.get("/health/ready")
    assert red.status_code == 503
    assert "a: silent for 6" in red.text
    assert "b:" not in red.text
    stranger = httpx.get(f"{running.api.url}/health/ready")
    assert (stranger.status_code, stranger.text) == (503, "1 cameras are silent\n")


@pytest.mark.parametrize(("headers", "status"), [
    ({"Authorization": ""}, 401),
    ({"Authorization": "Bearer wrong"}, 401),
    ({"Authorization": f"Basic {TOKEN}"}, 401),
    ({"Authorization": "Bearer \xe9".encode("latin-1")}, 401),
    ({"Host": "evil.example"}, 421),
    ({"Host": "127.0.0.1.evil.example"}, 421),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://localhost:3000"}, 200),
    ({"Host": "localhost"}, 200),
    ({}, 200),
])
def test_who_may_not_ask_is_refused(running, headers, status):
    assert running.client.get("/api/cameras", headers=headers).status_code == status


def test_without_a_token_this_machine_may_look_but_not_change(tmp_path):
    with Running(tmp_path, TEXT.replace(f", token: {TOKEN}", "")) as running:
        assert httpx.get(f"{running.api.url}/api/cameras").status_code == 200
        assert httpx.post(f"{running.api.url}/api/cameras/a/pause").status_code == 403


def test_cameras_are_added_paused_resumed_and_removed(running):
    client = running.client
    assert client.post("/api/cameras/new", json={"source": "new"}).status_code == 201
    running.feed(answered(running, "new"), "new")
    assert running.service.supervisor.settings("new").every == 0.02  # of the file's defaults
    assert client.post("/api/cameras/new/pause").status_code == 200
    assert client.get("/api/cameras/new").json()["state"] == "paused"
    assert client.get("/api/cameras/new/picture.jpg").status_code == 404
    assert client.post("/api/cameras/new/resume").status_code == 200
    wait_until(lambda: client.get("/api/cameras/new").json()["state"] != "paused")
    assert client.delete("/api/cameras/new").status_code == 200
    assert client.get("/api/cameras/new").status_code == 404


@pytest.mark.parametrize(("name", "body", "words"), [
    ("x", {"sauce": "topsecret"}, "unknown key 'sauce'"),
    ("x", {"source": "x", "every": "topsecret"}, "expected seconds"),
    ("x", {"source": ["topsecret"]}, "camera"),
    ("x", {}, "is missing"),
    ("a", {"source": "x"}, "is there already"),
    ("a.b", {"source": "x"}, "letters, digits"),
])
def test_a_camera_that_is_described_wrongly_is_refused_in_lines(running, name, body, words):
    answer = running.client.post(f"/api/cameras/{name}", json=body)
    assert answer.status_code == 400
    assert any(words in line for line in answer.json()["errors"])
    if "source" in body and body["source"] == ["topsecret"]:
        assert "topsecret" not in answer.text


def test_answers_come_over_a_websocket(running):
    from websockets.sync.client import connect

    address = running.api.url.replace("http", "ws") + "/api/cameras/a/answers"
    with connect(address, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as line:
        wait_until(lambda: len(running.service.listeners._listeners) == 2)  # rules are the other
        running.feed(answered(running), A)
        answer = json.loads(line.recv(timeout=20))
    assert answer["schema"] == 1
    wait_until(lambda: len(running.service.listeners._listeners) == 1)
    with pytest.raises(Exception, match=r"1008|403"), connect(address) as line:
        line.recv(timeout=20)


def test_pictures_come_one_after_another(running):
    running.feed(answered(running), A)
    with running.client.stream("GET", "/api/cameras/a/video") as answer:
        assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        first = next(answer.iter_raw())
    assert first.startswith(b"--p\r\nContent-Type: image/jpeg")


def test_a_changed_file_is_taken_over_and_a_bad_one_is_refused_while_all_go_on(running, caplog):
    running.feed(answered(running), A)
    before = running.service.supervisor.camera("a")
    running.path.write_text(TEXT.replace("{source: b,", "{source: b, every: fast,"))
    running.service.ask_reload()
    wait_until(lambda: running.service.snapshot().refused)
    assert any("cameras.b.every: got 'fast'" in r.getMessage() for r in caplog.records)
    assert running.service.supervisor.camera("a") is before
    running.path.write_text(TEXT.replace("  b: {source: b, pictures: none, actions: [walk]}\n", "  d: {source: d}\n"))
    running.service.ask_reload()
    wait_until(lambda: not running.service.snapshot().refused)
    assert running.service.supervisor.names() == ["a", "c", "d"]
    assert running.service.supervisor.camera("a") is before
    told = before.counts.numbers(0).answers
    running.feed(lambda: before.counts.numbers(0).answers > told, A)


def test_the_status_table_says_what_is(running):
    running.feed(answered(running), A)
    now = fetch(running.api.url, TOKEN)
    assert title(now).startswith(("1 of 2 cameras online", "2 of 2 cameras online"))
    assert "waiting" in caption(now)
    assert table(now).row_count == 3
    with pytest.raises(UserError, match="token"):
        fetch(running.api.url, "wrong-wrong-wrong")


def test_a_port_that_is_taken_is_one_line(running):
    from stream.service.settings import Server

    with pytest.raises(UserError, match=r"cannot listen there.*server\.port"):
        ApiServer(running.service, Server(port=running.api.port))
