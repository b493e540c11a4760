"""A real mosquitto for tests, a subscriber that writes down what it hears, and a line that can be cut."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from events_postgres import free_port


class Broker:
    """A mosquitto with a folder of its own."""

    def __init__(self, home: Path, config: str = "", port: int = 0) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not Path(program).exists():
            pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
        self._program, self.home, self.port = program, home, port or free_port()
        home.mkdir(parents=True, exist_ok=True)
        self._config = home / "mosquitto.conf"
        user = "user root\n" if home.owner() == "root" else ""
        self._config.write_text(f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\n{config}")
        self._process: subprocess.Popen | None = None

    def start(self) -> Broker:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            threading.Event().wait(0.02)
        raise AssertionError("mosquitto did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class Listener:
    """Hears everything a broker passes on."""

    def __init__(self, port: int, topics: str = "#", **tls) -> None:
        import paho.mqtt.client as paho

        self.heard: list[tuple[str, bytes, bool]] = []
        self.ready = threading.Event()
        self._changed = threading.Condition()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if tls:
            self.client.tls_set(**tls)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_disconnect = lambda *_: self.ready.clear()
        self.client.on_message = self._hear
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(20)

    def _hear(self, client, data, message) -> None:
        with self._changed:
            self.heard.append((message.topic, message.payload, message.retain))
            self._changed.notify_all()

    def wait(self, condition, timeout_s: float = 20) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout_s)

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for heard, payload, _ in self.heard if heard == topic]

    def json(self, topic: str) -> list[dict]:
        return [json.loads(payload) for payload in self.payloads(topic)]

    def last(self, topic: str) -> bytes | None:
        return (self.payloads(topic) or [None])[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Line:
    """A TCP line to a port that can be cut and mended."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.up = True
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.up = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def mend(self) -> None:
        self.up = True

    def close(self) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to), 5) if self.up else None
            except OSError:
                far = None
            if far is None:
                near.close()
                continue
            self._ends += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(a, b), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def a_broker(home: Path, config: str = "") -> Iterator[Broker]:
    """A running broker."""
    broker = Broker(home, config).start()
    try:
        yield broker
    finally:
        broker.kill()
