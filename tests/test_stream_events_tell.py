"""Who is told what, and when: webhooks and Apprise against a real receiver, quiet hours, limits, digests."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from events_fakes import an_event
from events_postgres import free_port

from detector.errors import UserError
from stream.events.config import TellConfig
from stream.events.gate import Gate
from stream.events.outbox import Away, Deliverer, Later, Refused
from stream.events.records import EventChange
from stream.events.store import Due, Store, Written
from stream.events.tell import TellTarget, WebhookVoice, sign, targets_of, words


class Receiver:
    """An HTTP server that notes what it is posted and answers as told."""

    def __init__(self, port: int = 0, answers: tuple[int, ...] = ()) -> None:
        got, queue = [], list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = queue.pop(0) if queue else 200
                got.append((code, dict(self.headers), body))
                self.send_response(code)
                if 300 <= code < 400:
                    self.send_header("Location", "http://127.0.0.1:9/")
                self.end_headers()

            def log_message(self, *words) -> None:
                """Quiet."""

        self.got = got
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def taken(self) -> list[dict]:
        return [json.loads(body) for code, _, body in self.got if code == 200]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiving(*answers: int, port: int = 0):
    receiver = Receiver(port, answers)
    try:
        yield receiver
    finally:
        receiver.close()


def due_of(number: int = 1, kind: str = "start", stored: float = 0.0, **event) -> Due:
    return Due(number, number, 0, stored, EventChange(kind, an_event(id=f"e{number}", **event)))


def start(number: int, **event) -> Written:
    return Written(EventChange("start", an_event(id=f"e{number}", **event)))


def webhook(port: int, **more) -> TellConfig:
    return TellConfig(name="hook", webhook=f"http://127.0.0.1:{port}/in?key=hush", secret="s3cret", **more)


def test_a_webhook_is_signed_json():
    with receiving() as receiver:
        voice = WebhookVoice(f"http://127.0.0.1:{receiver.port}/in", "s3cret", "hook", utc_clock=lambda: 1234.0)
        voice.say([due_of(7)], None)
        voice.close()
    ((_, headers, body),) = receiver.got
    said = json.loads(body)
    assert (said["type"], said["event"]["id"], said["event"]["why"]) == ("start", "e7", [])
    assert headers["X-Slowfast-Delivery"] == "7"
    assert headers["X-Slowfast-Timestamp"] == "1234"
    assert headers["X-Slowfast-Signature"] == f"sha256={sign('s3cret', '1234', body)}"


def test_the_signature_is_the_one_that_openssl_makes():
    # printf '1.{}' | openssl dgst -sha256 -hmac key
    assert sign("key", "1", b"{}") == "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"


@pytest.mark.parametrize(("code", "error"), [
    (200, None), (204, None), (500, Away), (503, Away), (429, Away), (404, Away), (401, Away), (302, Away),
    (400, Refused), (410, Refused), (422, Refused),
])
def test_what_an_answer_means(code, error):
    with receiving(code) as receiver:
        voice = WebhookVoice(f"http://u:hush@127.0.0.1:{receiver.port}/in?key=hush", "", "hook")
        with pytest.raises(error) if error else contextlib.nullcontext() as raised:
            voice.say([due_of()], None)
        assert error is None or "hush" not in str(raised.value)
        assert "X-Slowfast-Signature" not in receiver.got[0][1]


def test_nobody_there_is_away_and_shows_no_secret():
    voice = WebhookVoice(f"http://u:hush@127.0.0.1:{free_port()}/in?key=hush", "", "hook")
    with pytest.raises(Away) as away:
        voice.say([due_of()], None)
    assert str(away.value) == "webhook hook (127.0.0.1): cannot be reached"


def test_a_receiver_that_is_away_gets_everything_in_order_later(tmp_path):
    port = free_port()
    store = Store(str(tmp_path / "e.db"), targets=("hook",))
    (target,) = targets_of(webhook(port))
    deliverer = Deliverer(store, target, retry_s=0.02, most_retry_s=0.05, batch=500)
    store.write([start(n, camera=f"c{n % 3}") for n in range(12)])
    deliverer.wake()
    threading.Event().wait(0.2)
    assert store.backlog() == {"hook": (12, 0)}
    assert "cannot be reached" in deliverer.state.error
    with receiving(500, 200, 503, port=port) as receiver:
        assert deliverer.drain(20)
        assert [event["event"]["id"] for event in receiver.taken()] == [f"e{n}" for n in range(12)]
        # The number by which a receiver knows that it has had something already.
        numbers = [headers["X-Slowfast-Delivery"] for _, headers, _ in receiver.got]
        assert numbers[0] == numbers[1]
        assert len(set(numbers)) == 12
    assert deliverer.close()
    assert store.backlog() == {"hook": (0, 0)}
    store.close()


def test_what_is_spooled_outlives_the_process(tmp_path):
    port = free_port()
    store = Store(str(tmp_path / "e.db"), targets=("hook",))
    (target,) = targets_of(webhook(port))
    deliverer = Deliverer(store, target, retry_s=60)
    store.write([start(1), start(2)])
    deliverer.wake()
    assert deliverer.close()
    store.close()
    again = Store(str(tmp_path / "e.db"), targets=("hook",))
    with receiving(port=port) as receiver:
        second = Deliverer(again, targets_of(webhook(port))[0])
        assert second.drain(20)
        assert [event["event"]["id"] for event in receiver.taken()] == ["e1", "e2"]
        assert second.close()
    again.close()


def test_apprise_says_a_line_for_people():
    with receiving() as receiver:
        config = TellConfig(name="phone", apprise=f"json://127.0.0.1:{receiver.port}/")
        (target,) = targets_of(config, utc_clock=lambda: 1e9)
        assert target.send([due_of(camera="Door")]) == 1
        target.close()
    (said,) = receiver.taken()
    assert said["title"] == "Door: fall"
    assert said["message"].startswith("Door: #7 fall down, ")
    assert said["message"].endswith("0.90")


def test_apprise_sends_the_picture_once_it_is_there(tmp_path):
    now = [100.0]
    picture = tmp_path / "e1.jpg"
    with receiving() as receiver:
        config = TellConfig(name="phone", apprise=f"json://127.0.0.1:{receiver.port}/")
        (target,) = targets_of(config, utc_clock=lambda: now[0], picture_path=lambda event: picture)
        with pytest.raises(Later):
            target.send([due_of(stored=99.5)])
        picture.write_bytes(b"\xff\xd8\xff\xe0jpeg")
        assert target.send([due_of(stored=99.5)]) == 1
        picture.unlink()
        now[0] = 110.0
        assert target.send([due_of(2, stored=99.5)]) == 1
    with_it, without = receiver.taken()
    assert len(with_it["attachments"]) == 1
    assert not without.get("attachments")


def test_each_address_has_a_spool_of_its_own():
    config = TellConfig(name="phone", apprise=["json://127.0.0.1:1/", "json://127.0.0.1:2/"])
    assert [target.name for target in targets_of(config)] == ["phone", "phone-2"]


def test_a_service_that_is_away_is_tried_again():
    (target,) = targets_of(TellConfig(name="phone", apprise=f"json://127.0.0.1:{free_port()}/"))
    with pytest.raises(Away, match="phone"):
        target.send([due_of()])


def test_an_address_that_apprise_does_not_know_is_one_line():
    with pytest.raises(UserError) as mistake:
        targets_of(TellConfig(name="phone", apprise="nonsense://hush@nowhere"))
    assert "hush" not in str(mistake.value)
    assert "nonsense" in str(mistake.value)


class Said:
    """A voice that remembers."""

    def __init__(self) -> None:
        self.said: list[list[str]] = []

    def say(self, due, picture) -> None:
        self.said.append([one.change.event.id for one in due])

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(("config", "change", "wanted"), [
    ({}, {}, True), ({"rules": ["fall"]}, {}, True), ({"rules": ["fall"]}, {"rule": "gate"}, False),
    ({"cameras": ["door"]}, {}, True), ({"cameras": ["yard"]}, {}, False), ({"on": "end"}, {}, False),
    ({"on": ["start", "end"]}, {"kind": "end"}, True), ({}, {"kind": "film"}, False),
])
def test_only_what_is_wanted_is_said(config, change, wanted):
    kind = change.pop("kind", "start") if "kind" in change else "start"
    target = TellTarget(TellConfig(name="a", webhook="http://x/", **config), Said())
    assert target.wants(EventChange(kind, an_event(**change))) is wanted


def test_what_is_not_wanted_is_passed_over_at_once():
    voice = Said()
    target = TellTarget(TellConfig(name="a", webhook="http://x/", cameras="door"), voice, utc_clock=lambda: 0.0)
    due = [due_of(1, camera="yard"), due_of(2, camera="yard"), due_of(3), due_of(4, camera="yard")]
    assert target.send(due) == 2
    assert target.send(due[2:]) == 1
    assert voice.said == [["e3"]]


def at(clock: str) -> float:
    return datetime.fromisoformat(f"2026-01-31 {clock}").timestamp()


def test_nothing_is_said_in_quiet_hours_and_one_digest_after_them():
    now, voice = [at("23:00")], Said()
    config = TellConfig(name="a", webhook="http://x/", quiet="22:00-07:00")
    target = TellTarget(config, voice, utc_clock=lambda: now[0])
    due = [due_of(n) for n in range(5)]
    for clock in ("23:00", "23:59", "06:59"):
        now[0] = at(clock)
        with pytest.raises(Later):
            target.send(due)
    now[0] = at("07:00")
    assert target.send(due) == 5
    assert voice.said == [["e0", "e1", "e2", "e3", "e4"]]
    assert target.send([due_of(9)]) == 1


def test_a_flood_is_a_few_messages_and_one_digest():
    now, voice = [1000.0], Said()
    config = TellConfig(name="a", webhook="http://x/", at_most="3 per 10m", digest="5m")
    target = TellTarget(config, voice, utc_clock=lambda: now[0])
    waiting, sent_s = [], []
    for n in range(600):  # an event every second for ten minutes
        now[0] = 1000.0 + n
        waiting.append(due_of(n))
        while waiting:
            try:
                del waiting[:target.send(waiting)]
                sent_s.append(n)
            except Later:
                break
    assert [len(said) for said in voice.said] == [1, 1, 1, 301, 1][:4]
    assert sent_s == [0, 1, 2, 303]
    assert sum(map(len, voice.said)) + len(waiting) == 600


def test_the_limit_is_over_a_sliding_time():
    gate = Gate([], (2, 60.0), 30.0)
    answers = []
    for utc in (0, 10, 61, 71):
        answers.append(gate.now(utc, 1))
        gate.sent(utc)
    assert answers == [1, 1, 1, 1]
    assert isinstance(gate.now(75, 1), float)


def test_a_digest_counts_and_lists():
    title, text = words([due_of(n, camera="Door" if n % 3 else "Yard") for n in range(30)])
    assert title == "30 events (20 x Door: fall, 10 x Yard: fall)"
    assert len(text.splitlines()) == 21
    assert text.splitlines()[-1] == "and 10 more"


def test_secrets_do_not_show_in_what_is_printed():
    config = webhook(1)
    assert "s3cret" not in repr(config)
    assert "hush" not in repr(config)
