"""Rules in the cameras' file: read with its lines, at work on answers, told over HTTP and metrics, kept on reload."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("sqlalchemy")

import av
from stream_fakes import LABELS
from stream_rtsp import RtspCamera
from stream_service_fakes import wait_until
from test_stream_service_api import Running
from test_stream_service_reading import lines_of

from stream.events.store import Store
from stream.service.commands import file_schema
from stream.service.filming import PacketReader
from stream.service.mistakes import Mistakes
from stream.service.names import check_names
from stream.service.reading import read_cameras

TOKEN = "0123456789abcdef"
RULES = "rules: [{name: somebody, kind: stay, for: 0.2s, ends_after: 0.3s}]"
TEXT = f"""\
defaults: {{every: 0.02, motion: {{gate: false}}}}
server: {{port: 0, token: {TOKEN}}}
events:
  store: {{url: FOLDER/e.db}}
  films: {{folder: FOLDER/films, before: 1s, after: 0s}}
cameras:
  a:
    source: rtsp://admin:hunter2@host/a
    {RULES}
  b:
    source: b
    pictures: none
    {RULES}
  c: {{source: c}}
"""
A = "rtsp://admin:hunter2@host/a"


@pytest.fixture
def text(tmp_path):
    return TEXT.replace("FOLDER", str(tmp_path))


@pytest.fixture
def running(tmp_path, text):
    with Running(tmp_path, text) as made:
        yield made


def path_of(tmp_path, text):
    path = tmp_path / "cameras.yaml"
    path.write_text(text)
    return path


def began(running, camera="a"):
    return lambda: running.service.events.started[camera, "somebody"] > 0


# ---- the file ----------------------------------------------------------------------------------------------------


def test_a_camera_has_its_own_rules_and_those_of_the_defaults_where_it_has_none(tmp_path):
    described = read_cameras(path_of(tmp_path, f"""\
defaults:
  zones: {{hall: [[0, 0], [1, 0], [1, 1]]}}
  {RULES}
events: {{timezone: Europe/Berlin}}
cameras:
  a: {{source: x}}
  b: {{source: x, zones: {{door: [[0, 0], [1, 0], [0, 1]]}}, rules: [{{name: in, kind: enter, zones: [door, hall]}}]}}
"""))
    assert [rule.name for rule in described.rules["a"].rules] == ["somebody"]
    assert [rule.name for rule in described.rules["b"].rules] == ["in"]
    assert set(described.rules["b"].zones) == {"hall", "door"}
    assert described.rules["a"].timezone == "Europe/Berlin"


def test_without_rules_nothing_is_opened(tmp_path):
    described = read_cameras(path_of(tmp_path, "cameras: {a: {source: x}}"))
    assert described.events is None


@pytest.mark.parametrize(("rules", "line", "words"), [
    ("- {name: r, kind: stay}", 4, ["cameras.a.rules[0]", "`for` is missing"]),
    ("- {name: r, kind: sty, for: 1s}", 4, ["cameras.a.rules[0].kind", "'sty'", "action, stay"]),
    ("- {name: r, kind: stay, for: 1s, zones: [hal]}", 4, ["rules[0].zones[0]", "'hal'"]),
    ("- {name: r, kind: stay, for: soon}", 4, ["rules[0].for", "'soon'", "30s"]),
    ("- {name: r, kind: action, action: walk, ovr: 1}", 4, ["no such key", "over"]),
    ("- {name: r, kind: stay, for: '${SECRET}'}", 4, ["a value that is not shown"]),
    ("- {name: r, kind: stay, for: 1s}\n    - {name: r, kind: stay, for: 1s}", 5, ["rules[1].name", "twice"]),
])
def test_a_mistake_in_a_rule_tells_its_line(tmp_path, rules, line, words):
    path = path_of(tmp_path, f"cameras:\n  a:\n    source: x\n    rules:\n    {rules}")
    found = lines_of(path, {"SECRET": "hunter2"})
    assert len(found) == 1
    assert "hunter2" not in found[0]
    for word in words:
        assert word in found[0]
    assert found[0].startswith(f"{line + 1}:"), found


def test_mistakes_about_where_events_go_tell_their_line(tmp_path):
    (line,) = lines_of(path_of(tmp_path, "cameras: {a: {source: x}}\nevents:\n  films: {beforr: 5s}"))
    assert line.startswith("3: events.films.beforr")
    (line,) = lines_of(path_of(tmp_path, "cameras: {a: {source: x}}\nevents:\n  timezone: Mars"))
    assert line.startswith("3: events.timezone")
    text = "cameras: {a: {source: x}}\nevents:\n  tell: [{name: me, webhook: http://x, cameras: [door]}]"
    (line,) = lines_of(path_of(tmp_path, text))
    assert "'door', expected the name of a camera" in line


@pytest.mark.parametrize("events", [
    "mqtt: {host: x, password: 41234}", "tell: [{name: me, webhook: 41234}]", "store: {url: 41234}",
    "tell: [{name: me, webhook: http://x, secret: 41234}]", "tell: [{name: me, apprise: [41234]}]",
])
def test_a_secret_of_the_wrong_kind_is_not_repeated(tmp_path, events):
    (line,) = lines_of(path_of(tmp_path, f"cameras: {{a: {{source: x}}}}\nevents:\n  {events}"))
    assert "got a value that is not shown" in line
    assert "41234" not in line


def test_an_action_that_the_model_does_not_have_is_a_mistake(tmp_path):
    text = "cameras:\n  a:\n    source: x\n    rules:\n      - {name: r, kind: action, action: wolk}"
    with pytest.raises(Mistakes) as caught:
        check_names(read_cameras(path_of(tmp_path, text)), lambda model: LABELS)
    assert ":5: cameras.a.rules[0].action[0]: action 'wolk'" in str(caught.value)


def test_the_schema_knows_rules():
    schema = file_schema()
    assert "items" in schema["$defs"]["Camera"]["properties"]["rules"]
    assert "StayRule" in schema["$defs"]


# ---- at work -----------------------------------------------------------------------------------------------------


def test_somebody_who_stays_is_an_event_told_everywhere_without_secrets(running, tmp_path):
    from websockets.sync.client import connect

    address = running.api.url.replace("http", "ws") + "/api/events/changes"
    with connect(address, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as line:
        wait_until(lambda: running.service.events._followers)
        running.feed(began(running), A)
        change = json.loads(line.recv(timeout=20))
    assert (change["kind"], change["event"]["camera"], change["event"]["rule"]) == ("start", "a", "somebody")
    wait_until(lambda: running.client.get("/api/events").json())
    (event,) = running.client.get("/api/events", params={"camera": "a", "since": "1h"}).json()
    assert event["id"] == change["event"]["id"]
    assert running.client.get("/api/events", params={"camera": "c"}).json() == []
    one = running.client.get(f"/api/events/{event['id']}").json()
    assert one["why"]
    assert 'slowfast_events_total{camera="a",rule="somebody"} 1.0' in running.client.get("/metrics").text
    for page in ("/api/events", f"/api/events/{event['id']}", "/metrics"):
        assert "hunter2" not in running.client.get(page).text
    assert running.client.get("/api/cameras/c/why-not").status_code == 404
    assert isinstance(running.client.get("/api/cameras/a/why-not").json(), list)


def test_an_event_has_a_film_of_pictures_and_can_be_marked(running):
    running.feed(began(running), A)
    wait_until(lambda: running.client.get("/api/events").json())
    (event,) = running.client.get("/api/events").json()
    path = f"/api/events/{event['id']}"
    # The camera's packets cannot be had here, so its pictures are encoded. It goes black: nobody is there any more.
    running.service.supervisor.remove("a")
    running.service.events.remove("a")
    wait_until(lambda: running.client.get(f"{path}/film.mp4").status_code == 200, "the film is there")
    film = running.client.get(f"{path}/film.mp4", headers={"Range": "bytes=0-99"})
    assert (film.status_code, len(film.content)) == (206, 100)
    picture = running.client.get(f"{path}/picture.jpg")
    assert picture.content[:2] == b"\xff\xd8"
    assert running.client.post(f"{path}/mark", json={"mark": "wrong"}).json()["mark"] == "wrong"
    assert running.client.get(path).json()["mark"] == "wrong"
    assert running.client.post(f"{path}/mark", json={"mark": "perhaps"}).status_code == 400
    assert running.client.get("/api/events/..%2f..%2fetc/film.mp4").status_code == 404


def test_a_camera_that_keeps_numbers_only_has_events_without_pictures(running):
    running.feed(began(running, "b"), "b")
    assert running.service.events.camera("b").recorder is None
    assert running.service.events.camera("a").recorder is not None


def test_new_rules_are_taken_over_without_a_gap(running, text):
    running.feed(began(running), A)
    camera = running.service.supervisor.camera("a")
    running.path.write_text(text.replace("name: somebody", "name: guest", 1))
    changes = running.service.reload()
    assert str(changes) == "rules: a"
    assert running.service.supervisor.camera("a") is camera
    wait_until(lambda: running.service.events.desk.log.state.waiting == 0)
    running.feed(lambda: running.service.events.started["a", "guest"] > 0, A)
    ended = [e for e in Store(running.service.events.desk.store.name).events() if e.rule == "somebody"]
    assert ended[0].ended_because == "rules changed"


def test_a_camera_of_the_api_brings_its_rules_and_takes_them_along(running):
    rules = [{"name": "somebody", "kind": "stay", "for": "0.2s"}]
    assert running.client.post("/api/cameras/d", json={"source": "d", "rules": rules}).status_code == 201
    running.feed(began(running, "d"), "d")
    running.service.reload()
    assert running.service.events.camera("d") is not None
    assert running.client.delete("/api/cameras/d").status_code == 200
    assert running.service.events.camera("d") is None
    bad = running.client.post("/api/cameras/e", json={"source": "d", "rules": [{"name": "r", "kind": "sit"}]})
    assert bad.status_code == 400
    assert "rules[0].kind" in bad.json()["errors"][0]


def test_what_happened_is_kept_when_the_service_ends(tmp_path, text):
    with Running(tmp_path, text) as running:
        running.feed(began(running), A)
    (event,) = Store(f"{tmp_path}/e.db").events()
    assert event.end_s is not None


# ---- films from the large stream ---------------------------------------------------------------------------------


def test_packets_of_the_large_stream_are_read_while_they_are_wanted():
    packets, asked, wanted = [], [], [False]
    with RtspCamera(pictures=60) as camera:
        reader = PacketReader(camera.url, lambda packet, stream: packets.append((bytes(packet), stream)),
                              wanted=lambda: asked.append(1) or wanted[0])
        wait_until(lambda: len(asked) > 1, "asked again whether packets are wanted")
        assert camera.connections == 0
        wanted[0] = True
        wait_until(lambda: len(packets) >= 40, "packets come")
        reader.close()
        assert reader.join(20)
    context = av.CodecContext.create("h264", "r")
    frames = [frame for data, _ in packets if data for frame in context.decode(av.Packet(data))]
    assert len(frames) >= 30


def test_what_is_no_network_address_is_not_read_for_packets():
    reader = PacketReader("/dev/video7", lambda packet, stream: None)
    assert reader.join(0)


def test_metrics_of_films_have_rows_only_for_cameras_that_are_filmed(running):
    running.feed(began(running), A)
    text = running.client.get("/metrics").text
    assert re.search(r'slowfast_event_packet_bytes\{camera="a"\}', text)
    assert not re.search(r'slowfast_event_packet_bytes\{camera="b"\}', text)
