"""Events over a real mosquitto: what is said on which topic, and that nothing is lost while it is away."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from events_broker import Broker, Line, Listener, a_broker
from events_fakes import an_event, rule_set

from detector.errors import UserError
from stream.events.config import MqttConfig
from stream.events.discovery import device_message, slug
from stream.events.mqtt import Announced, Command, MqttTarget
from stream.events.outbox import Deliverer
from stream.events.records import EventChange
from stream.events.store import Store, Written

RULES = rule_set("""
zones: {hall: [[0, 0], [1, 0], [1, 1]]}
lines: {gate: [[0, 0], [1, 0]]}
rules:
  - {name: fall, kind: action, action: fall down}
  - {name: Long stay, kind: stay, for: 5m, zones: hall}
  - {name: gate, kind: cross, line: gate}
""")
DOOR = Announced("Front door", tuple(RULES.rules), ("fall down", "walk"), "tiny")


@pytest.fixture
def broker(tmp_path):
    with a_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def connect(broker):
    """A function that makes a connected target; all are closed afterwards."""
    made = []

    def make(port: int = 0, wait: bool = True, **config) -> MqttTarget:
        online = threading.Event()
        keywords = {k: config.pop(k) for k in ("on_command", "picture_of") if k in config}
        target = MqttTarget(
            MqttConfig(host="127.0.0.1", port=port or broker.port, **config), on_online=online.set, **keywords
        )
        made.append(target)
        assert not wait or online.wait(20), target._error
        return target

    yield make
    for target in made:
        target.close()


@pytest.fixture
def listener(broker):
    hears = Listener(broker.port)
    yield hears
    hears.close()


def changes_of(number: int, **more) -> list[EventChange]:
    event = an_event(id=f"e{number}", camera="Front door", **more)
    ended = replace(event, end_s=9.0, ended_because="over")
    return [EventChange("start", event), EventChange("end", ended, event)]


def wait_for(condition, timeout_s: float = 20.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up:
        threading.Event().wait(0.02)


def said_on(listener: Listener) -> list[tuple[str, str]]:
    """(id, type) of each message about an event."""
    return [(said["after"]["id"], said["type"]) for said in listener.json("slowfast/events")]


def tell(store: Store, *changes: EventChange) -> None:
    store.write([Written(change) for change in changes])


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_an_event_is_told_on_its_topics(tmp_path, connect, listener, version):
    store = Store(str(tmp_path / "e.db"), targets=("mqtt",))
    target = connect(version=version, picture_of=lambda event: b"\xff\xd8jpeg")
    target.announce(DOOR)
    start, end = changes_of(1, snapshot="a.jpg")
    tell(store, start, end)
    deliverer = Deliverer(store, target)
    assert deliverer.drain(20)
    assert listener.wait(lambda hears: len(hears.payloads("slowfast/events")) == 2)
    first, second = listener.json("slowfast/events")
    assert (first["type"], first["before"], first["after"]["id"]) == ("start", None, "e1")
    assert (second["type"], second["before"]["end_s"], second["after"]["end_s"]) == ("end", None, 9.0)
    base = "slowfast/front_door"
    assert listener.wait(lambda hears: hears.payloads(f"{base}/rules/fall/active")[-2:] == [b"ON", b"OFF"])
    assert [e["event_type"] for e in listener.json(f"{base}/rules/fall/event")] == ["start", "end"]
    assert listener.wait(lambda hears: hears.last(f"{base}/picture") == b"\xff\xd8jpeg")
    assert listener.last("slowfast/available") == b"online"
    assert deliverer.close()
    assert listener.wait(lambda hears: hears.last("slowfast/available") == b"offline")
    store.close()


def test_a_crossing_says_its_direction_once(tmp_path, connect, listener):
    store = Store(str(tmp_path / "e.db"), targets=("mqtt",))
    target = connect()
    target.announce(DOOR)
    tell(store, *changes_of(1, rule="gate", kind="cross", direction="in", zone="gate"))
    deliverer = Deliverer(store, target)
    assert deliverer.drain(20)
    assert listener.wait(lambda hears: len(hears.payloads("slowfast/events")) == 2)
    assert listener.wait(lambda hears: hears.payloads("slowfast/front_door/rules/gate/event"))
    assert deliverer.close()
    assert listener.wait(lambda hears: hears.last("slowfast/available") == b"offline")
    assert [e["event_type"] for e in listener.json("slowfast/front_door/rules/gate/event")] == ["in"]
    store.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("away_s", [0.3, pytest.param(60.0, marks=pytest.mark.slow)])
def test_nothing_is_lost_while_the_broker_is_away(tmp_path, broker, connect, listener, version, away_s):
    """Cut off with messages on their way, killed, started again; the line is mended once the listener is back."""
    line = Line(broker.port)
    store = Store(str(tmp_path / "e.db"), targets=("mqtt",))
    target = connect(line.port, version=version)
    target.announce(DOOR)
    deliverer = Deliverer(store, target, retry_s=0.05, most_retry_s=0.2)
    for n in range(20):
        tell(store, *changes_of(n))
        deliverer.wake()
        if n == 8:
            assert listener.wait(lambda hears: len(hears.payloads("slowfast/events")) >= 8)
            line.cut()
            # What a broker has acknowledged and not yet passed on dies with it; that is not ours to prevent. So wait
            # until it is known what was acknowledged, and until the listener has heard that.
            wait_for(lambda: deliverer.state.error)
            assert listener.wait(lambda hears: len(set(hears.payloads("slowfast/events"))) >= deliverer.state.told)
            broker.kill()
    threading.Event().wait(away_s)
    assert "mqtt" in store.backlog()
    assert store.backlog()["mqtt"][0] >= 20
    wait_for(lambda: deliverer.state.error)
    assert "broker 127.0.0.1" in deliverer.state.error
    broker.start()
    assert listener.ready.wait(30)
    line.mend()
    assert deliverer.drain(60)
    assert listener.wait(lambda hears: ("e19", "end") in said_on(hears))
    heard = said_on(listener)
    assert list(dict.fromkeys(heard)) == [(f"e{n}", kind) for n in range(20) for kind in ("start", "end")]
    # QoS 1 may say again what was on its way when the line was cut, and nothing else.
    assert len(heard) - len(set(heard)) <= 20
    assert store.backlog() == {"mqtt": (0, 0)}
    assert deliverer.close()
    line.close()
    store.close()


def test_the_last_will_says_offline_when_the_process_dies(broker, connect, listener):
    line = Line(broker.port)
    connect(line.port)
    assert listener.wait(lambda hears: hears.last("slowfast/available") == b"online")
    line.cut()
    assert listener.wait(lambda hears: hears.last("slowfast/available") == b"offline")
    line.close()


def test_home_assistant_finds_a_camera_and_loses_it(broker, connect, listener):
    target = connect()
    target.announce(DOOR)
    topic = "homeassistant/device/slowfast_front_door/config"
    assert listener.wait(lambda hears: hears.last(topic))
    late = Listener(broker.port, topic)
    assert late.wait(lambda hears: hears.heard and hears.heard[0][2])  # retained
    late.close()
    said = json.loads(listener.last(topic))
    assert said == device_message("slowfast", "Front door", RULES.rules, ("fall down", "walk"), "tiny")
    # Home Assistant was started anew and asks everybody to say it again.
    before = len(listener.payloads(topic))
    listener.client.publish("homeassistant/status", "online", qos=1)
    assert listener.wait(lambda hears: len(hears.payloads(topic)) > before)
    target.withdraw("Front door")
    assert listener.wait(lambda hears: hears.last(topic) == b"")


def test_a_camera_that_went_while_nobody_ran_is_cleared_away(connect, listener):
    first = connect()
    first.announce(Announced("Old yard"))
    topic = "homeassistant/device/slowfast_old_yard/config"
    assert listener.wait(lambda hears: hears.last(topic))
    listener.client.publish("homeassistant/device/slowfast_other/config", '{"origin": {"name": "else"}}', 1, True)
    first.close()
    second = connect(wait=False)
    second.announce(DOOR)
    assert listener.wait(lambda hears: hears.last(topic) == b"")
    assert listener.last("homeassistant/device/slowfast_other/config") != b""


def test_the_announcement_has_what_home_assistant_asks_for():
    said = device_message("slowfast", "Front door", RULES.rules, ("walk",))
    parts = said["components"]
    kinds = sorted(part["platform"] for part in parts.values())
    assert kinds == sorted(["sensor", "image", "switch", "button", "sensor", "event", "event", "event",
                            "binary_sensor", "binary_sensor", "number"])
    assert len({part["unique_id"] for part in parts.values()}) == len(parts)
    assert parts["event_gate"]["event_types"] == ["in", "out"]
    assert parts["event_fall"]["event_types"] == ["start", "end"]
    for part in parts.values():
        needed = {"image": "image_topic", "button": "command_topic"}.get(part["platform"], "state_topic")
        assert part[needed].startswith("slowfast/front_door/")
    assert {a["topic"] for a in said["availability"]} == {"slowfast/available", "slowfast/front_door/available"}
    assert said["origin"]["name"] == "slowfast-live"


@pytest.mark.parametrize(("topic", "payload", "command"), [
    ("front_door/pause/set", "ON", Command("Front door", "pause", 1.0)),
    ("front_door/pause/set", "off", Command("Front door", "pause", 0.0)),
    ("front_door/snapshot/set", "PRESS", Command("Front door", "snapshot")),
    ("front_door/rules/fall/threshold/set", "0.7", Command("Front door", "threshold", 0.7, "fall")),
    ("front_door/rules/long_stay/threshold/set", "0.7", Command("Front door", "threshold", 0.7, "Long stay")),
    ("front_door/rules/fall/threshold/set", "7", None), ("front_door/rules/fall/threshold/set", "nan", None),
    ("front_door/rules/none/threshold/set", "0.7", None), ("back_door/pause/set", "ON", None),
    ("front_door/pause/set", "maybe", None), ("front_door/pause/set", b"\xff", None),
])
def test_commands(connect, listener, topic, payload, command):
    got = []
    done = threading.Event()

    def take(said: Command) -> None:
        got.append(said)
        done.set()

    target = connect(on_command=take)
    target.announce(DOOR)
    listener.client.publish(f"slowfast/{topic}", payload, qos=1)
    # One that is known comes after it, so that one that is not would have come before.
    listener.client.publish("slowfast/front_door/pause/set", "ON", qos=1)
    assert done.wait(20)
    assert got[0] == (command or Command("Front door", "pause", 1.0))


def test_states_are_said_when_they_change_and_again_after_a_break(broker, connect, listener):
    line = Line(broker.port)
    target = connect(line.port)
    target.announce(DOOR)
    for people in ("1", "1", "2"):
        target.state("Front door", {"people": people, "actions/walk": "0"})
    target.threshold("Front door", "fall", 0.6)
    base = "slowfast/front_door"
    assert listener.wait(lambda hears: hears.last(f"{base}/rules/fall/threshold/state") == b"0.6")
    assert listener.payloads(f"{base}/people") == [b"1", b"2"]
    assert listener.payloads(f"{base}/actions/walk") == [b"0"]
    line.cut()
    target.state("Front door", {"people": "3"})
    line.mend()
    assert listener.wait(lambda hears: hears.last(f"{base}/people") == b"3", 30)
    line.close()


def certificates(folder) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )


def test_tls_with_a_certificate_of_ones_own(tmp_path):
    home = tmp_path / "tls"
    certificates(home)
    with a_broker(home, f"certfile {home / 'cert.pem'}\nkeyfile {home / 'key.pem'}\n") as secure:
        online = threading.Event()
        config = MqttConfig(host="127.0.0.1", port=secure.port, ca=str(home / "cert.pem"))
        target = MqttTarget(config, on_online=online.set)
        assert online.wait(20), target._error
        target.close()
        untrusting = threading.Event()
        other = MqttTarget(MqttConfig(host="127.0.0.1", port=secure.port, tls=True), on_online=untrusting.set)
        assert not untrusting.wait(1.5)
        other.close()


def test_a_wrong_password_is_said_and_not_shown(tmp_path, caplog):
    home = tmp_path / "closed"
    home.mkdir()
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([program, "-c", "-b", str(home / "users"), "me", "right"], check=True, capture_output=True)
    broker = Broker(home, f"password_file {home / 'users'}\n")
    broker._config.write_text(broker._config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    for version in ("5", "3.1.1"):
        config = MqttConfig(host="127.0.0.1", port=broker.port, user="me", password="wr0ng", version=version)
        target = MqttTarget(config)
        wait_for(lambda target=target: "authori" in target._error or "password" in target._error)
        assert not target.online
        assert "authori" in target._error or "password" in target._error
        target.close()
    assert "wr0ng" not in caplog.text + repr(config)
    broker.kill()


def test_a_missing_authority_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"mqtt\.ca .*none\.pem: cannot be read"):
        MqttTarget(MqttConfig(host="127.0.0.1", ca=str(tmp_path / "none.pem")))


@pytest.mark.parametrize(("name", "expected"), [
    ("Front door", "front_door"), ("carry/hold (an object)", "carry_hold_an_object"), ("Tür", "t_r"), ("//", "x"),
])
def test_names_become_parts_of_topics(name, expected):
    assert slug(name) == expected
