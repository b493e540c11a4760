"""The gate in front of an application that would answer anything: hosts, origins, CORS, lines, slow bodies."""

from __future__ import annotations

import asyncio

import pytest

from demo.gate import Gate
from demo.hosts import Hosts, hosts_of, own_names, split_host
from detector.errors import UserError

HERE = ("127.0.0.1", 7860)
NAMED = Hosts(declared=frozenset(["demo.example"]))
NETWORK = Hosts(own=frozenset(["box", "box.local", "192.0.2.7"]), network=True)
CORS = [(b"Access-Control-Allow-Origin", b"*"), (b"access-control-allow-credentials", b"true")]


class App:
    """Answers everything, with CORS headers, and keeps what reached it."""

    def __init__(self) -> None:
        self.scopes: list = []

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": CORS})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [*CORS, (b"vary", b"Origin")]})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(hosts=None, method="GET", path="/", host="127.0.0.1:7860", origin=None, server=HERE, scheme="http", more=(),
        receive=None, **options):
    """What comes out of the gate, and the scopes that went in."""
    app, sent = App(), []
    headers = [*((b"host", h.encode("latin-1")) for h in ([host] if isinstance(host, str) else host)), *more]
    headers += [(b"origin", o.encode()) for o in ([origin] if isinstance(origin, str) else origin or [])]
    kind = "websocket" if scheme in ("ws", "wss") else "http"
    scope = {"type": kind, "path": path, "headers": headers, "server": server, "scheme": scheme, "method": method}

    async def empty():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(Gate(app, hosts, **options)(scope, receive or empty, send), 20))
    return sent, app.scopes


@pytest.mark.parametrize("host", [
    "localhost", "localhost:7860", "LOCALHOST:7860", "localhost.:7860", "127.0.0.1", "127.0.0.1:8080", "[::1]:7860",
    "[0:0:0:0:0:0:0:1]",
])
def test_loopback_is_reached_under_its_names_and_any_port(host):
    sent, scopes = ask(host=host)
    assert sent[0]["status"] == 200
    assert len(scopes) == 1


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.nip.io", "localhost@evil.example",
    "evil.example#localhost", "localhost:7860.evil.example", "", "localhost:", "localhost:99999", "localhost:x",
    "127.0.0.1:7860, evil.example", "[::1", "192.0.2.7", "box.local", "0.0.0.0", "2130706433", "lôcalhost", " ",
    ["localhost", "evil.example"], [], "localhost\n",
])
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_any_other_host_is_refused(host, scheme):
    name = host if isinstance(host, str) else "localhost"
    path = "/line" if scheme == "ws" else "/"
    sent, scopes = ask(host=host, scheme=scheme, path=path, origin=f"http://{name}")
    assert scopes == []
    if scheme == "ws":
        assert sent == [{"type": "websocket.close", "code": 1008}]
    else:
        assert sent[0]["status"] == 421
        assert b"--host-name" in sent[1]["body"]


@pytest.mark.parametrize(("hosts", "host", "server", "allowed"), [
    (NAMED, "demo.example", HERE, True), (NAMED, "demo.example:8443", HERE, True), (NAMED, "localhost", HERE, True),
    (NAMED, "x.demo.example", HERE, False), (NAMED, "192.0.2.7", ("192.0.2.7", 1), False),
    (NETWORK, "box:7860", HERE, True), (NETWORK, "box.local", HERE, True), (NETWORK, "192.0.2.7", HERE, True),
    (NETWORK, "192.0.2.8", ("192.0.2.8", 1), True), (NETWORK, "192.0.2.8", HERE, False),
    (NETWORK, "[2001:db8::5]", ("2001:db8::5", 1), True), (NETWORK, "evil.example", ("evil.example", 1), False),
    (NETWORK, "localhost", HERE, True), (NETWORK, "demo.example", HERE, False),
    (Hosts(), "127.0.0.2", ("127.0.0.2", 1), True),
])
def test_more_names_are_this_machines_and_the_operators(hosts, host, server, allowed):
    sent, _ = ask(hosts, host=host, server=server)
    assert sent[0]["status"] == (200 if allowed else 421)


OURS = "http://127.0.0.1:7860"
FOREIGN = [
    "http://evil.example", "http://evil.example:7860", "null", "http://127.0.0.1:9999", "http://127.0.0.1", "",
    "http://localhost:7860", "file://127.0.0.1:7860", "http://127.0.0.1:7860.evil.example", "127.0.0.1:7860",
    "http://evil.example@127.0.0.1:7860", [OURS, "http://evil.example"], ["http://evil.example", OURS],
]


@pytest.mark.parametrize("origin", [*FOREIGN, None])
def test_a_line_is_for_our_own_page(origin):
    assert ask(scheme="ws", path="/line", origin=origin) == ([{"type": "websocket.close", "code": 1008}], [])


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("path", ["/upload", "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"])
def test_what_changes_something_is_for_our_own_page(origin, path):
    sent, scopes = ask(method="POST", path=path, origin=origin)
    assert (sent[0]["status"], scopes) == (403, [])


@pytest.mark.parametrize(("host", "origin", "scheme"), [
    ("127.0.0.1:7860", OURS, "ws"), ("LocalHost:7860", "http://localhost:7860", "ws"),
    ("localhost", "http://localhost", "ws"), ("localhost:80", "http://localhost", "ws"),
    ("demo.example", "https://demo.example", "ws"), ("demo.example:443", "https://demo.example", "wss"),
    ("[::1]:7860", "http://[::1]:7860", "ws"),
])
def test_our_own_page_gets_its_line_and_may_post(host, origin, scheme):
    sent, scopes = ask(NAMED, host=host, origin=origin, scheme=scheme, path="/line")
    assert sent == [{"type": "websocket.accept", "headers": []}]
    assert len(scopes) == 1
    sent, _ = ask(NAMED, host=host, origin=origin, method="POST", path="/upload")
    assert sent[0]["status"] == 200


def test_a_page_without_tls_is_another_one():
    sent, _ = ask(NAMED, host="demo.example:443", origin="http://demo.example:443", scheme="wss", path="/line")
    assert sent[0]["type"] == "websocket.close"


@pytest.mark.parametrize("path", [
    "/", "/gradio_api/queue/join", "/gradio_api/queue/data", "/upload", "/healthz", "/files/a/b", "/line/", "/line2",
    "/assets/x", "/gradio_api/heartbeat/x", "/nothing", "//line",
])
def test_there_is_one_line_and_no_other(path):
    assert ask(scheme="ws", path=path, origin=OURS) == ([{"type": "websocket.close", "code": 1008}], [])


@pytest.mark.parametrize("origin", [None, OURS, "http://evil.example"])
@pytest.mark.parametrize("path", ["/", "/config", "/nothing", "/files/a/b"])
def test_no_answer_lets_another_site_read_it(origin, path):
    sent, _ = ask(origin=origin, path=path)
    names = [name.lower() for name, _ in sent[0]["headers"]]
    assert not [name for name in names if name.startswith(b"access-control-")]
    assert (b"cross-origin-resource-policy", b"same-origin") in sent[0]["headers"]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "post"])
def test_other_methods_are_refused(method):
    more = [(b"access-control-request-method", b"POST")]
    sent, scopes = ask(method=method, path="/upload", origin="http://evil.example", more=more)
    assert (sent[0]["status"], scopes) == (405, [])


FORWARDED = b"x-forwarded-host"


@pytest.mark.parametrize(("hosts", "forwarded", "believed"), [
    (NAMED, b"demo.example", True), (NAMED, b"demo.example, inner.example", True), (NAMED, b"evil.example", False),
    (None, b"demo.example", False), (NETWORK, b"box", False), (NAMED, b"inner.example, demo.example", False),
])
def test_a_proxy_is_believed_where_its_name_was_declared(hosts, forwarded, believed):
    origin = "https://" + forwarded.decode().split(",")[0]
    options = {"path": "/line", "scheme": "ws", "origin": origin, "more": [(FORWARDED, forwarded)]}
    sent, scopes = ask(hosts, **options)
    assert sent[0]["type"] == ("websocket.accept" if believed else "websocket.close")
    _, (scope,) = ask(hosts, more=[(FORWARDED, forwarded)])
    seen = [value for name, value in scope["headers"] if name == FORWARDED]
    assert seen == ([b"demo.example"] if believed else [])


@pytest.mark.parametrize("name", [b"X-Forwarded-Host", b"x-gradio-server", b"forwarded", b"x-forwarded-port"])
def test_nobody_tells_gradio_where_the_page_is(name):
    _, (scope,) = ask(more=[(name, b"http://evil.example")])
    assert [key for key, _ in scope["headers"]] == [b"host"]


def test_a_proxy_in_front_does_not_make_another_host_ours():
    sent, scopes = ask(NAMED, host="evil.example", more=[(FORWARDED, b"demo.example")])
    assert (sent[0]["status"], scopes) == (421, [])


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"])
def test_an_event_that_never_comes_whole_is_not_waited_for(path):
    async def never():
        await asyncio.Event().wait()

    sent, scopes = ask(method="POST", path=path, origin=OURS, receive=never, body_s=0.05)
    assert (sent[0]["status"], scopes) == (408, [])
    assert (b"connection", b"close") in sent[0]["headers"]


def test_refused_hosts_are_told_to_the_operator_a_few_times(caplog):
    gate = Gate(App())

    async def send(message) -> None:
        pass

    for i in range(50):
        scope = {"type": "http", "path": "/", "method": "GET", "headers": [(b"host", b"h%d.example" % (i % 20))]}
        asyncio.run(gate(scope, None, send))
    assert [record.getMessage().split()[6] for record in caplog.records] == [f"h{i}.example;" for i in range(5)]
    assert "--host-name h0.example" in caplog.text


def test_declared_names_are_read_as_browsers_send_them():
    hosts = hosts_of("127.0.0.1", ["Demo.Example", "bücher.example", "2001:DB8::1", "[::2]", "192.0.2.5"])
    assert hosts.declared == {"demo.example", "xn--bcher-kva.example", "2001:db8::1", "::2", "192.0.2.5"}
    assert not hosts.network
    assert hosts.own == frozenset()


@pytest.mark.parametrize(
    "name", ["https://demo.example", "demo.example:443", "demo.example/", "*", "", "a b", "x" * 300]
)
def test_what_is_no_name_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="--host-name") as error:
        hosts_of("127.0.0.1", [name])
    assert "\n" not in str(error.value)


def test_in_the_network_the_machine_has_its_own_names(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Box.lan")
    monkeypatch.setattr("socket.getfqdn", lambda name: "evil.example")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [(0, 0, 0, "", ("192.0.2.7", 0))])
    assert hosts_of("0.0.0.0").own == own_names() == {"box.lan", "box", "box.local", "192.0.2.7"}
    assert hosts_of("0.0.0.0").network


def test_a_name_server_that_does_not_answer_holds_nothing_up(monkeypatch):
    import threading

    forever = threading.Event()
    monkeypatch.setattr("demo.hosts.LOOK_UP_S", 0.05)
    monkeypatch.setattr("socket.getfqdn", lambda name: f"{forever.wait(20)}")
    assert own_names()
    forever.set()


@pytest.mark.parametrize(("value", "parts"), [
    ("A.b:1", ("a.b", 1)), ("[::FFFF:127.0.0.1]", ("127.0.0.1", None)), ("a", ("a", None)), ("a:", None),
    ("-a", None), ("a..", None), ("[]", None), ("[zz]", None), ("::1", None), ("a:٣", None),
])
def test_hosts_are_read_strictly(value, parts):
    assert split_host(value) == parts
