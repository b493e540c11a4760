"""What is kept: written once, found again, told on, whatever dies meanwhile."""

from __future__ import annotations

import collections
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from events_fakes import an_event
from events_postgres import a_postgres

from detector.errors import UserError
from stream.events import schema
from stream.events.event_log import EventLog, keep_aside, take_aside
from stream.events.outbox import Away, Deliverer, Refused
from stream.events.records import EventChange
from stream.events.schema import StoreAway
from stream.events.store import Store, Wanted, Written

ROOT = Path(__file__).resolve().parent.parent


def start(number: int = 1, **changes) -> EventChange:
    return EventChange("start", an_event(id=f"e{number}", **changes))


def end(change: EventChange, end_s: float = 9.0) -> EventChange:
    from dataclasses import replace

    return EventChange("end", replace(change.event, end_s=end_s, ended_because="over"), change.event)


@pytest.fixture(scope="module")
def postgres():
    with a_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    server = request.getfixturevalue("postgres")
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS outbox, changes, events, alembic_version")
    return server.url


def test_an_event_is_kept_through_its_life(url):
    store = Store(url, targets=("a", "b"))
    first = start(why=())
    store.write([Written(first)])
    assert store.event("e1") == first.event
    last = end(first)
    store.write([Written(last)])
    assert store.events() == [last.event]
    assert [(d.change.kind, d.change) for d in store.due("a")] == [("start", first), ("end", last)]
    store.delivered(store.due("a")[:1])
    assert [d.change.kind for d in store.due("a")] == ["end"]
    assert [d.change.kind for d in store.due("b")] == ["start", "end"]
    assert store.backlog() == {"a": (1, 0), "b": (2, 0)}
    store.close()
    again = Store(url, targets=("a", "b"))
    assert again.events() == [last.event]
    assert again.backlog() == {"a": (1, 0), "b": (2, 0)}
    again.close()


def test_writing_twice_is_writing_once(url):
    store = Store(url, targets=("a",))
    written = Written(start())
    store.write([written])
    store.write([written, Written(end(written.change))])
    assert [d.change.kind for d in store.due("a")] == ["start", "end"]
    store.close()


@pytest.mark.parametrize(("wanted", "ids"), [
    (Wanted(), "1234"), (Wanted(since_utc=200), "34"), (Wanted(until_utc=200), "12"),
    (Wanted(cameras=("door",)), "13"), (Wanted(actions=("walk",)), "2"), (Wanted(rules=("x", "fall")), "1234"),
    (Wanted(most=2), "34"), (Wanted(kinds=("stay",)), "4"), (Wanted(marked="wrong"), "3"),
    (Wanted(since_utc=100, cameras=("yard",), most=1), "4"),
])
def test_events_are_found(url, wanted, ids):
    store = Store(url)
    for number, (camera, utc, action, kind) in enumerate([
        ("door", 50, "fall down", "action"), ("yard", 150, "walk", "action"), ("door", 250, "fall down", "action"),
        ("yard", 350, "", "stay"),
    ], start=1):
        store.write([Written(start(number, camera=camera, start_utc=float(utc), action=action, kind=kind))])
    assert store.mark("e3", "wrong")
    assert not store.mark("nope", "wrong")
    assert "".join(event.id[1:] for event in store.events(wanted)) == ids
    store.close()


def test_old_events_are_forgotten_with_all_that_belongs_to_them(url):
    store = Store(url, targets=("a",))
    for number in (1, 2, 3):
        change = start(number, start_utc=100.0 * number)
        store.write([Written(change)] + ([Written(end(change))] if number != 1 else []))
    # One that goes on is kept however old it is.
    assert store.forget(250) == 1
    assert [event.id for event in store.events()] == ["e1", "e3"]
    assert [d.change.event.id for d in store.due("a")] == ["e1", "e3", "e3"]
    store.close()


def test_events_left_open_by_a_dead_process_are_ended(url):
    store = Store(url, targets=("a",), writer="one")
    change = start(peak_s=4.0, told_s=2.0)
    store.write([Written(change)])
    assert Store(url, targets=("a",), writer="two").close_open() == 0
    assert store.close_open() == 1
    event = store.event("e1")
    assert (event.end_s, event.ended_because) == (4.0, "process ended")
    assert [d.change.kind for d in store.due("a")] == ["start", "end"]
    assert store.close_open() == 0
    store.close()


def test_an_id_may_be_cut_short_where_only_one_fits(url):
    store = Store(url)
    store.write([Written(start(10)), Written(start(11)), Written(start(2))])
    assert store.event("e2").id == "e2"
    assert store.event("e1") is None
    assert store.event("e_") is None
    store.close()


@pytest.mark.parametrize(("url", "words"), [
    ("mysql://u:hush@h/x", ["mysql", "postgresql"]),
    ("postgresql://u:hush@127.0.0.1:9/x", ["postgresql://127.0.0.1/x", "cannot be opened"]),
    ("sqlite:////proc/no/events.db", ["/proc/no/events.db"]), ("://", ["postgresql"]),
    ("sqlite://", ["in memory"]), ("/dev/null", ["/dev/null"]),
])
def test_a_wrong_address_is_one_line_without_password(url, words):
    with pytest.raises(UserError) as mistake:
        Store(url)
    said = str(mistake.value)
    assert "\n" not in said
    assert "hush" not in said
    assert [word for word in words if word not in said] == []


def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "events.db"
    Store(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match="newer version"):
        Store(str(path))


def test_the_migrations_make_the_tables_that_the_store_uses(tmp_path):
    import sqlalchemy as sa

    engine = schema.connect(str(tmp_path / "events.db"))
    seen = sa.inspect(engine)
    for name in ("events", "changes", "outbox"):
        there = {column["name"] for column in seen.get_columns(name)}
        assert there == {column.name for column in getattr(schema.tables(), name).columns}
    engine.dispose()


def test_many_threads_write_and_read(url):
    store = Store(url, targets=("a",))
    failures = []

    def write(camera: int) -> None:
        try:
            for n in range(15):
                change = start(camera * 100 + n, camera=f"c{camera}")
                store.write([Written(change), Written(end(change))])
                store.events(Wanted(most=3))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(c,)) for c in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(store.events()) == 60
    assert len(store.due("a", 1000)) == 120
    store.close()


class Flaky:
    """A store that is away for its first so many writes."""

    def __init__(self, store: Store, away: int) -> None:
        self.store, self.away, self.calls = store, away, 0

    def write(self, written) -> None:
        self.calls += 1
        if self.calls <= self.away:
            raise StoreAway("store x: database or disk is full")
        self.store.write(written)


def test_the_log_keeps_events_while_the_store_is_away(tmp_path):
    store = Store(str(tmp_path / "e.db"))
    log = EventLog(Flaky(store, away=3), retry_s=0.001)
    log.put([start(n) for n in range(20)])
    assert log.flush()
    assert [event.id for event in store.events()] == sorted(f"e{n}" for n in range(20))
    assert log.state.written == 20
    assert log.state.error == ""
    assert log.close() == []
    store.close()


def test_the_log_is_bounded_and_says_what_it_dropped(tmp_path):
    store = Store(str(tmp_path / "e.db"))
    gate = threading.Event()

    class Waits(Flaky):
        def write(self, written) -> None:
            gate.wait(10)
            super().write(written)

    log = EventLog(Waits(store, 0), most_waiting=10)
    log.put([start(1)])
    for n in range(50):
        log.put([EventChange("update", an_event(id="e1", answers=n))])
    log.put([start(n) for n in range(2, 14)])
    state = log.state
    assert state.waiting <= 10
    assert state.dropped_updates >= 40
    assert state.lost == 13 - 10
    gate.set()
    assert log.close() == []
    assert {f"e{n}" for n in range(4, 14)} <= {event.id for event in store.events()}
    store.close()


def test_closing_the_log_while_the_store_is_away_ends_and_says_so(tmp_path):
    log = EventLog(Flaky(None, away=10**9), retry_s=60)
    log.put([start()])
    assert log.close(5) == [start()]
    assert "disk is full" in log.state.error


def test_what_could_not_be_written_is_kept_aside_and_written_once(tmp_path):
    path = tmp_path / "unwritten.jsonl"
    changes = [start(1), end(start(1)), start(2)]
    assert keep_aside(path, changes)
    store = Store(str(tmp_path / "e.db"), targets=("a",))
    lines = path.read_text()
    assert take_aside(path, store) == 3
    assert not path.exists()
    assert [d.change for d in store.due("a")] == changes
    # A process that died between writing and deleting does it again, without effect.
    path.write_text(lines)
    take_aside(path, store)
    assert len(store.due("a")) == 3
    assert take_aside(path, store) == 0
    assert not keep_aside(Path("/proc/no/where"), changes)
    store.close()


def test_a_listener_that_fails_does_not_stop_the_log(tmp_path):
    store = Store(str(tmp_path / "e.db"))

    def fails() -> None:
        raise ZeroDivisionError

    log = EventLog(store, on_written=fails)
    for n in range(3):
        log.put([start(n)])
        assert log.flush()
    assert log.close() == []
    assert len(store.events()) == 3
    store.close()


def test_what_can_never_be_written_is_counted_and_holds_up_nothing(tmp_path):
    store = Store(str(tmp_path / "e.db"))
    log = EventLog(store)
    log.put([start(1), start(2, action=object()), start(3)])
    assert log.flush()
    assert log.close() == []
    assert [event.id for event in store.events()] == ["e1", "e3"]
    assert (log.state.written, log.state.lost) == (2, 1)
    store.close()


def test_two_processes_on_one_database_tell_their_own(tmp_path):
    one, two = (Store(str(tmp_path / "e.db"), targets=("a",), writer=name) for name in ("one", "two"))
    one.write([Written(start(1))])
    two.write([Written(start(2))])
    assert [d.change.event.id for d in one.due("a")] == ["e1"]
    assert [d.change.event.id for d in two.due("a")] == ["e2"]
    assert one.backlog() == two.backlog() == {"a": (1, 0)}
    assert two.close_open() == 1
    assert one.event("e1").end_s is None
    assert len(one.events()) == 2
    one.close()
    two.close()


def test_a_target_that_fails_in_a_way_nobody_thought_of_is_tried_again(tmp_path):
    store = Store(str(tmp_path / "e.db"), targets=("a",))
    store.write([Written(start(1))])

    class Odd(Receiver):
        def send(self, due) -> int:
            if self.away:
                self.away -= 1
                raise ZeroDivisionError("odd")
            return super().send(due)

    receiver = Odd(away=2)
    deliverer = Deliverer(store, receiver, retry_s=0.001)
    assert deliverer.drain()
    assert receiver.got == [("e1", "start")]
    assert deliverer.close()
    store.close()


class Receiver:
    """Takes changes, after failing as often as told."""

    name = "a"

    def __init__(self, away: int = 0, refuse: str = "", at_most: int = 100) -> None:
        self.away, self.refuse, self.at_most, self.got = away, refuse, at_most, []

    def send(self, due) -> int:
        if self.away:
            self.away -= 1
            raise Away("receiver: no answer")
        if due[0].change.event.id == self.refuse:
            raise Refused("receiver: 400")
        taken = due[:self.at_most]
        self.got += [(d.change.event.id, d.change.kind) for d in taken]
        return len(taken)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("receiver", [Receiver(), Receiver(away=4), Receiver(at_most=3)])
def test_everything_is_told_once_and_in_order(tmp_path, receiver):
    store = Store(str(tmp_path / "e.db"), targets=("a",))
    store.write([Written(start(n)) for n in range(7)])
    deliverer = Deliverer(store, receiver, retry_s=0.001)
    store.write([Written(start(n)) for n in range(7, 130)])
    deliverer.wake()
    assert deliverer.drain(20)
    assert receiver.got == [(f"e{n}", "start") for n in range(130)]
    assert deliverer.state.told == 130
    assert deliverer.close()
    assert store.backlog() == {"a": (0, 0)}
    store.close()


def test_what_is_refused_is_counted_and_does_not_hold_up_the_rest(tmp_path):
    store = Store(str(tmp_path / "e.db"), targets=("a",))
    store.write([Written(start(n)) for n in range(5)])
    receiver = Receiver(refuse="e0")
    deliverer = Deliverer(store, receiver)
    assert deliverer.drain()
    assert deliverer.close()
    assert [i for i, _ in receiver.got] == ["e1", "e2", "e3", "e4"]
    assert store.backlog() == {"a": (0, 1)}
    store.close()


def test_what_waited_a_week_is_given_up(tmp_path):
    now = [1000.0]
    store = Store(str(tmp_path / "e.db"), targets=("a",), utc_clock=lambda: now[0])
    store.write([Written(start(1))])
    now[0] += 8 * 86400
    store.write([Written(start(2))])
    receiver = Receiver()
    deliverer = Deliverer(store, receiver, utc_clock=lambda: now[0])
    assert deliverer.drain()
    assert deliverer.close()
    assert receiver.got == [("e2", "start")]
    assert store.backlog() == {"a": (0, 1)}
    store.close()


def test_closing_leaves_what_was_not_told_for_the_next_run(tmp_path):
    store = Store(str(tmp_path / "e.db"), targets=("a",))
    store.write([Written(start(n)) for n in range(3)])
    deliverer = Deliverer(store, Receiver(away=10**9), retry_s=60)
    assert deliverer.close()
    assert store.backlog() == {"a": (3, 0)}
    receiver = Receiver()
    second = Deliverer(store, receiver)
    assert second.drain()
    assert second.close()
    assert len(receiver.got) == 3
    store.close()


def test_postgresql_may_go_away_and_come_back(postgres, tmp_path):
    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS outbox, changes, events, alembic_version")
    store = Store(postgres.url, targets=("a",))
    receiver = Receiver()
    deliverer = Deliverer(store, receiver, retry_s=0.05, most_retry_s=0.1)
    log = EventLog(store, on_written=deliverer.wake, retry_s=0.05)
    log.put([start(1)])
    assert log.flush()
    assert deliverer.drain(30)
    postgres.stop()
    log.put([start(2), start(3)])
    assert not log.flush(0.5)
    assert "hush" not in log.state.error
    assert log.state.waiting == 2
    postgres.start()
    assert log.flush(30)
    assert deliverer.drain(30)
    assert log.close() == []
    assert deliverer.close()
    assert [i for i, _ in receiver.got] == ["e1", "e2", "e3"]
    store.close()


def killed_at_random(folder: Path, url: str, kills: int, seed: int) -> tuple[list[str], list[str]]:
    """What was acknowledged and what was told by a process that is killed again and again."""
    rng = random.Random(seed)
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    lines = folder / "acknowledged"
    lines.touch()
    for n in range(kills):
        before = lines.stat().st_size
        child = subprocess.Popen([sys.executable, str(ROOT / "tests" / "events_kill_child.py"), str(folder),
                                  str(100_000 * n), url], env=env, stderr=subprocess.PIPE)
        give_up_s = time.monotonic() + 60
        while lines.stat().st_size == before and child.poll() is None and time.monotonic() < give_up_s:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        child.send_signal(signal.SIGKILL)
        _, said = child.communicate(timeout=30)
        assert child.returncode == -signal.SIGKILL, said.decode()
        assert lines.stat().st_size > before
    return lines.read_text().splitlines(), (folder / "told").read_text().splitlines()


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_loses_nothing_acknowledged_and_tells_nothing_twice(tmp_path, kills):
    nothing_is_lost_or_told_twice(tmp_path, str(tmp_path / "events.db"), kills)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_loses_nothing_on_postgresql_either(tmp_path, kills):
    with a_postgres() as server:
        nothing_is_lost_or_told_twice(tmp_path, server.url, kills)


def nothing_is_lost_or_told_twice(tmp_path: Path, url: str, kills: int) -> None:
    acknowledged, _ = killed_at_random(tmp_path, url, kills, seed=kills)
    store = Store(url, targets=("file",))
    kept = collections.Counter(event.id for event in store.events())
    assert set(kept.values()) == {1}
    assert {line.split()[0] for line in acknowledged} <= set(kept)
    # The rest is told after the last start, as it would be by the next run.
    from events_kill_child import ToFile

    deliverer = Deliverer(store, ToFile(tmp_path / "told"))
    assert deliverer.drain(60)
    assert deliverer.close()
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    # At least once: only the one in flight at a kill may be there again, under the same number.
    assert {f"{i} {kind}" for _, i, kind in told} >= set(acknowledged)
    assert len(told) - len({number for number, _, _ in told}) <= kills
    first_told = list(dict.fromkeys(int(number) for number, _, _ in told))
    assert first_told == sorted(first_told)
    of_change = {number: (i, kind) for number, i, kind in told}
    assert len(set(of_change.values())) == len(of_change)
    store.close()
