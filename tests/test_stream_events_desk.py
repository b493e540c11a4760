"""Everything together, and everything away at once: events are kept, told later, once, in order, under their ids."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from events_broker import Broker, Listener
from events_fakes import observe, person, rule_set
from events_postgres import a_postgres, free_port
from test_stream_events_tell import Receiver

from stream.events.config import EventsFile, Outputs
from stream.events.desk import Desk
from stream.events.mqtt import Command
from stream.events.recorder import CameraRecorder
from stream.events.rule_file import build, parse_yaml
from stream.events.store import Store

NOW = time.time()
RULES = """
rules:
  - {name: fall, kind: action, action: fall down, over: 0.6, for: 0, ends_after: 1}
"""


def config_of(text: str) -> EventsFile:
    values, lines = parse_yaml(RULES + text, "events.yaml")
    return build(EventsFile, values, lines)


def wait_for(condition, timeout_s: float = 30.0) -> bool:
    give_up = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up:
        threading.Event().wait(0.02)
    return bool(condition())


def a_fall(camera, number: int) -> None:
    """Somebody falls and gets up again: one event."""
    base = 10.0 * number
    for t, score in enumerate((0.0, 0.9, 0.9, 0.0, 0.0)):
        camera.step(observe(base + t, person(fall=score), utc=NOW + base + t))


def test_a_fall_goes_from_answers_to_the_store(tmp_path):
    changes = []
    desk = Desk(config_of(f"store: {{url: '{tmp_path}/e.db'}}\nfilms: {{films: false, snapshots: false}}\n"),
                on_change=changes.append)
    camera = desk.camera("door", "rtsp://***@10.0.0.1/x")
    a_fall(camera, 1)
    assert desk.close()
    assert [c.kind for c in changes] == ["start", "end"]
    (event,) = Store(f"{tmp_path}/e.db").events()
    assert (event.camera, event.rule, event.seconds, event.source) == ("door", "fall", 2.0, "rtsp://***@10.0.0.1/x")


def test_closing_ends_what_goes_on(tmp_path):
    desk = Desk(config_of(f"store: {{url: '{tmp_path}/e.db'}}\nfilms: {{films: false, snapshots: false}}\n"))
    camera = desk.camera("door")
    camera.step(observe(1.0, person(fall=0.9), utc=NOW))
    assert desk.close()
    (event,) = Store(f"{tmp_path}/e.db").events()
    assert event.ended_because == "end of stream"


def test_an_event_of_a_killed_process_is_ended_by_the_next(tmp_path):
    text = f"store: {{url: '{tmp_path}/e.db'}}\nfilms: {{films: false, snapshots: false}}\n"
    killed = Desk(config_of(text))
    killed.camera("door").step(observe(1.0, person(fall=0.9), utc=NOW))
    assert killed.log.flush()
    after = Desk(config_of(text))
    (event,) = after.store.events()
    assert event.ended_because == "process ended"
    assert after.close()


def test_pictures_keep_to_their_event_whatever_comes_first(tmp_path):
    desk = Desk(config_of(f"store: {{url: '{tmp_path}/e.db'}}\n"), folder=tmp_path / "films")
    camera = desk.camera("door")
    camera.recorder.close()
    camera.recorder = None
    changes = camera.step(observe(1.0, person(fall=0.9), utc=NOW))
    from dataclasses import replace

    from stream.events.records import EventChange, with_media

    made = with_media(changes[0].event, snapshot="a.jpg")
    camera.finish()
    desk.put_media(EventChange("update", made, changes[0].event))
    desk.put_media(EventChange("film", with_media(replace(made, snapshot=""), film="a.mp4", film_lead_s=4.2), made))
    assert desk.close()
    (event,) = Store(f"{tmp_path}/e.db").events()
    assert (event.snapshot, event.film, event.film_lead_s) == ("a.jpg", "a.mp4", 4.2)
    assert event.ended_because == "end of stream"


@pytest.mark.parametrize(("command", "after"), [
    (Command("door", "threshold", 0.95, "fall"), 0), (Command("door", "threshold", 0.5, "fall"), 1),
    (Command("door", "pause", 1.0), 0), (Command("yard", "pause", 1.0), 1), (Command("door", "snapshot"), 1),
])
def test_what_is_asked_for_over_mqtt_is_done(tmp_path, command, after):
    asked = []
    desk = Desk(config_of(f"store: {{url: '{tmp_path}/e.db'}}\n"), folder=tmp_path, on_command=asked.append)
    camera = desk.camera("door")
    camera.step(observe(0.5, person(), utc=NOW))
    desk._command(command)
    a_fall(camera, 1)
    desk.close()
    assert asked == [command]
    assert len([e for e in Store(f"{tmp_path}/e.db").events() if e.rule == "fall"]) == after


def test_everything_away_at_once_loses_nothing(tmp_path):
    """Broker, receiver, database and disk are away together while events come, and come back one by one."""
    broker = Broker(tmp_path / "broker").start()
    hook_port = free_port()
    with a_postgres() as database:
        config = config_of(f"""
store: {{url: '{database.url}'}}
films: {{spare_gb: 100000, films: true, snapshots: true}}
mqtt: {{host: 127.0.0.1, port: {broker.port}}}
tell: [{{name: hook, webhook: 'http://127.0.0.1:{hook_port}/', on: [start, end]}}]
""")
        desk = Desk(config, folder=tmp_path / "films")
        camera = desk.camera("door")
        assert isinstance(camera.recorder, CameraRecorder)
        listener = Listener(broker.port)
        a_fall(camera, 0)
        assert listener.wait(lambda hears: len(hears.payloads("slowfast/events")) == 2)
        assert wait_for(lambda: desk.state()["targets"]["mqtt"]["told"] == 2)
        broker.kill()
        database.stop()
        for number in range(1, 6):
            a_fall(camera, number)
        assert wait_for(lambda: desk.log.state.error)
        assert desk.log.state.waiting == 10
        database.start()
        assert desk.log.flush(60)
        for number in range(6, 9):
            a_fall(camera, number)
        state = desk.state()
        assert wait_for(lambda: desk.state()["targets"]["hook"]["error"])
        assert wait_for(lambda: desk.state()["targets"]["mqtt"]["error"])
        assert wait_for(lambda: desk.state()["films"]["door"]["failed"] >= 9)
        assert state["log"]["lost"] == 0
        receiver = Receiver(hook_port)
        broker.start()
        assert listener.ready.wait(30)
        ids = [event.id for event in desk.store.events()]
        assert len(ids) == 9
        wanted = [(i, kind) for i in ids for kind in ("start", "end")]
        assert wait_for(lambda: desk.state()["targets"]["hook"]["told"] == 18, 90)
        assert wait_for(lambda: desk.state()["targets"]["mqtt"]["waiting"] == 0, 90)
        posted = [(json.loads(body)["event"]["id"], json.loads(body)["type"]) for _, _, body in receiver.got]
        assert posted == wanted
        # The listener may have come back a moment after the desk; what it heard is in order and under the same ids.
        heard = list(dict.fromkeys((e["after"]["id"], e["type"]) for e in listener.json("slowfast/events")))
        assert [one for one in wanted if one in heard] == heard
        assert "hush" not in json.dumps(desk.state())
        assert desk.close()
        listener.close()
        receiver.close()
    broker.kill()


def test_a_disk_that_is_full_for_the_database_too_costs_no_event(tmp_path):
    """SQLite's own limit stands in for a full disk: it says the same."""
    desk = Desk(config_of(f"store: {{url: '{tmp_path}/e.db'}}\nfilms: {{films: false, snapshots: false}}\n"))
    camera = desk.camera("door")
    full = {"yes": False}
    import sqlalchemy as sa

    @sa.event.listens_for(desk.store._engine, "begin")
    def _fill(connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() if full["yes"] else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    a_fall(camera, 0)
    assert desk.log.flush()
    full["yes"] = True
    for number in range(1, 60):
        a_fall(camera, number)
    assert wait_for(lambda: "full" in desk.log.state.error), desk.log.state
    full["yes"] = False
    assert desk.log.flush(60)
    assert desk.close()
    assert len(Store(f"{tmp_path}/e.db").events()) == 60


def test_events_that_the_store_never_took_come_back_with_the_next_start(tmp_path, monkeypatch):
    from stream.events.schema import StoreAway

    text = f"store: {{url: '{tmp_path}/e.db'}}\nfilms: {{films: false, snapshots: false}}\n"
    desk = Desk(config_of(text), folder=tmp_path / "films")
    camera = desk.camera("door")

    def away(written) -> None:
        raise StoreAway("store e.db: disk I/O error")

    monkeypatch.setattr(desk.store, "write", away)
    a_fall(camera, 1)
    assert desk.close(1.0)
    assert Store(f"{tmp_path}/e.db").events() == []
    again = Desk(config_of(text), folder=tmp_path / "films")
    (event,) = again.store.events()
    assert (event.seconds, event.ended_because) == (2.0, "over")
    assert again.close()


def test_rules_of_a_camera_may_be_its_own(tmp_path):
    desk = Desk(config_of(f"store: {{url: '{tmp_path}/e.db'}}\nfilms: {{films: false, snapshots: false}}\n"))
    own = rule_set("- {name: here, kind: stay, for: 1}\n")
    a_fall(desk.camera("door", rules=own), 1)
    a_fall(desk.camera("yard"), 1)
    assert desk.close()
    assert {(e.camera, e.rule) for e in Store(f"{tmp_path}/e.db").events()} == {("door", "here"), ("yard", "fall")}
    assert not Path("events.db").exists()


def test_rules_change_while_a_camera_runs(tmp_path):
    outputs = Outputs(store={"url": f"{tmp_path}/e.db"}, films={"films": False, "snapshots": False})
    desk = Desk(outputs, rules=rule_set(RULES))
    camera = desk.camera("door")
    camera.step(observe(1.0, person(fall=0.9), utc=NOW))
    camera.set_rules(rule_set("- {name: here, kind: stay, for: 1}\n"))
    for t in (2.0, 3.0, 4.0):
        camera.step(observe(t, person(fall=0.9), utc=NOW + t))
    assert desk.close()
    events = Store(f"{tmp_path}/e.db").events()
    assert [(e.rule, e.ended_because) for e in events] == [("fall", "rules changed"), ("here", "end of stream")]
