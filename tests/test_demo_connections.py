"""Connections: counted by address, idle ones hung up, open pages never counted out."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import pytest

from demo.connections import MOST_OF_VISITOR, Crowd, http_protocol
from demo.gate import COOKIE
from demo.pool import Busy
from demo.tabs import Tabs, address_of

ANN, EVE = "a" * 24, "e" * 24


@dataclass(eq=False)
class Fake:
    address: str = "192.0.2.1"
    visitor: str | None = None
    gone: bool = False

    @property
    def request(self):
        return None if self.visitor is None else {"headers": [(b"cookie", f"{COOKIE}={self.visitor}".encode())]}


@pytest.fixture
def crowd():
    return Crowd(3, lambda visitor: visitor == ANN)


def test_an_address_with_too_many_loses_its_oldest_idle_connection(crowd):
    busy, first, second, third = Fake(visitor=EVE), Fake(), Fake(), Fake()
    assert [crowd.join(c) for c in (busy, first, second)] == [None] * 3
    assert crowd.join(third) is first
    assert crowd.join(Fake()) is second
    assert crowd.join(Fake(address="192.0.2.2")) is None
    assert len(crowd) == 4


def test_where_none_is_idle_the_new_one_goes(crowd):
    for _ in range(3):
        assert crowd.join(Fake(visitor=EVE)) is None
    new = Fake()
    assert crowd.join(new) is new
    assert len(crowd) == 3


def test_open_pages_are_not_counted(crowd):
    for _ in range(MOST_OF_VISITOR):
        assert crowd.join(Fake(visitor=ANN)) is None
    assert [crowd.join(Fake(visitor=EVE)) for _ in range(3)] == [None] * 3
    assert crowd.join(Fake()) is not None


def test_an_open_page_is_no_licence_for_any_number(crowd):
    for _ in range(MOST_OF_VISITOR + 3):
        assert crowd.join(Fake(visitor=ANN)) is None
    assert crowd.join(Fake(visitor=ANN)) is not None


def test_those_that_ended_count_no_more(crowd):
    ended = [Fake() for _ in range(3)]
    for connection in ended:
        crowd.join(connection)
    crowd.leave(ended[0])
    ended[1].gone = True
    assert [crowd.join(Fake()), crowd.join(Fake())] == [None, None]
    for connection in ended:
        crowd.leave(connection)
    assert len(crowd) == 2


@pytest.mark.parametrize(("client", "address"), [
    (("192.0.2.1", 5), "192.0.2.1"), (["::ffff:192.0.2.1", 5], "192.0.2.1"), (("::1", 5), "::1"), (None, ""),
    (("2001:db8:1:2:3::4", 5), "2001:db8:1:2::/64"), (("fe80::1%eth0", 5), "fe80::/64"),
    (("testclient", 1), "testclient"),
])
def test_a_request_counts_for_its_address_or_network(client, address):
    assert address_of(client) == address


def test_pages_are_their_visitors_and_limited_by_address():
    tabs = Tabs(most_per_address=2)
    tabs.open("t", ANN, "192.0.2.1")
    tabs.open("t", ANN, "192.0.2.1")
    with pytest.raises(Busy, match="your address"):
        tabs.open("u", ANN, "192.0.2.1")
    tabs.open("u", EVE, "192.0.2.2")
    assert ("t" in tabs, "x" in tabs, len(tabs)) == (True, False, 2)
    assert [tabs.is_open("t", v) for v in (ANN, EVE, "")] == [True, False, False]
    assert [tabs.has_page(v) for v in (ANN, EVE, "", "x")] == [True, True, False, False]
    assert (tabs.address("t", ANN), tabs.address("t", EVE)) == ("192.0.2.1", "")


def test_a_page_is_remembered_until_it_is_forgotten():
    tabs = Tabs()
    tabs.open("t", ANN, "")
    assert not tabs.forget("t", ANN)
    tabs.hang_up("t", ANN)
    assert (tabs.is_open("t", ANN), "t" in tabs, len(tabs)) == (True, False, 0)
    tabs.open("t", ANN, "")
    assert not tabs.forget("t", ANN)
    tabs.hang_up("t", ANN)
    assert tabs.forget("t", ANN)
    assert not tabs.is_open("t", ANN)


@dataclass
class Served:
    port: int
    crowd: Crowd


async def answer(scope, receive, send):
    if scope["path"] == "/long":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def with_server(body, most=50, patience_s=0.3):
    """Run `body(served)` beside uvicorn with the counted protocol."""
    import socket

    uvicorn = pytest.importorskip("uvicorn")

    async def main():
        crowd = Crowd(most, lambda visitor: visitor == ANN)
        server = uvicorn.Server(uvicorn.Config(
            answer, http=http_protocol(crowd, patience_s), lifespan="off", log_level="critical",
            timeout_keep_alive=60, timeout_graceful_shutdown=1,
        ))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.02)
            try:
                await body(Served(listener.getsockname()[1], crowd))
            finally:
                server.should_exit = server.force_exit = True
                await serving

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_that_asks_nothing_is_hung_up(said):
    async def body(served):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(said)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        while len(served.crowd):
            await asyncio.sleep(0.01)

    with_server(body)


def test_drops_of_a_request_head_do_not_hold_a_connection():
    async def body(served):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).endswith(b"ok")
        reading = asyncio.create_task(reader.read())
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        while not reading.done():
            writer.write(b"x")
            await asyncio.sleep(0.05)
        assert reading.exception() is not None or reading.result() == b""
        writer.close()

    with_server(body)


def test_a_request_being_answered_is_waited_for_and_used_connections_stay():
    async def body(served):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for _ in range(4):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).endswith(b"ok")
            await asyncio.sleep(0.2)
        writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1.0)
        writer.close()

    with_server(body)


def test_a_flood_of_idle_connections_does_not_keep_a_page_out():
    async def body(served):
        flood = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(30)]
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).endswith(b"ok")
        assert len(served.crowd) <= 5
        for _, other in (*flood, (reader, writer)):
            other.close()

    with_server(body, most=5, patience_s=20)
