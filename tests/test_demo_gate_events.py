"""What passes the gate in front of Gradio, part by part: paths, events, cookies, a proxy's words, its own answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from demo.gate import COOKIE, HEADERS, MAX_EVENT_BYTES, Gate, is_plain_event, visitor_of

OURS = [(b"host", b"127.0.0.1:7860"), (b"origin", b"http://127.0.0.1:7860")]


class App:
    """Keeps what reached it: scopes, and the first two messages of each request that has a body."""

    def __init__(self) -> None:
        self.scopes, self.messages = [], []

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        if scope.get("method") == "POST":
            self.messages += [await receive(), await receive()]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(method="GET", path="/", more=(), messages=(), scheme="http", **options):
    """What comes out of the gate, and what stood behind it."""
    app, sent, left = App(), [], list(messages)
    scope = {"type": "http", "path": path, "headers": [*OURS, *more], "server": ("127.0.0.1", 7860),
             "scheme": scheme, "method": method}

    async def receive():
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(Gate(app, **options)(scope, receive, send), 20))
    return sent, app


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


JOIN = "/gradio_api/queue/join"
EVENT = json.dumps({"fn_index": 3, "data": ["a", 1]}).encode()


@pytest.mark.parametrize(("event", "plain"), [
    ({"data": ["text", 1, 2.5, True, None]}, True),
    ({"data": [["a", "b"], []]}, True), ({}, True), ({"data": []}, True),
    ({"data": [["a", 1]]}, False), ({"data": [["a"], [None]]}, False), ({"data": [{"path": "/etc/passwd"}]}, False),
    ({"data": ["a", {"url": "http://x"}]}, False), ({"data": {"a": "b"}}, False), ({"data": "text"}, False),
    ([], False), (["data"], False), ("data", False), (7, False), (None, False), ({"data": None}, False),
])
def test_an_event_holds_plain_values(event, plain):
    assert is_plain_event(json.dumps(event).encode()) is plain


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"nonsense"])
def test_what_is_no_json_is_no_event(body):
    assert is_plain_event(body) is False


def test_an_event_reaches_the_page_as_it_was_sent_and_what_follows_does_too():
    sent, app = ask("POST", JOIN, messages=[part(EVENT[:9], True), part(EVENT[9:])])
    assert sent[0]["status"] == 200
    assert app.messages == [part(EVENT), {"type": "http.disconnect"}]


def test_parts_without_a_body_are_parts_all_the_same():
    _, app = ask("POST", JOIN, messages=[
        {"type": "http.request", "more_body": True}, part(EVENT, True), {"type": "http.request"},
    ])
    assert app.messages[0] == part(EVENT)


@pytest.mark.parametrize("messages", [
    [], [part(EVENT, True)], [part(b"{", True), {"type": "http.disconnect", "body": b"}"}],
    [part(b'{"data": [{"path": "/etc/passwd"}]}')], [part(b" " * MAX_EVENT_BYTES, True), part(EVENT)],
])
def test_what_does_not_come_whole_or_holds_more_is_refused(messages):
    sent, app = ask("POST", JOIN, messages=messages)
    assert (sent[0]["status"], app.scopes) == (400, [])


@pytest.mark.parametrize(("size", "status"), [(MAX_EVENT_BYTES, 200), (MAX_EVENT_BYTES + 1, 400)])
def test_an_event_has_a_size(size, status):
    sent, _ = ask("POST", JOIN, messages=[part(EVENT + b" " * (size - len(EVENT)))])
    assert sent[0]["status"] == status


def test_other_posts_of_the_page_need_not_be_events():
    sent, _ = ask("POST", "/gradio_api/cancel", messages=[part(b"no event")])
    assert sent[0]["status"] == 200


@pytest.mark.parametrize(("event", "asked"), [
    ({"fn_index": 3, "data": ["a", 1]}, (3, ["a", 1])), ({"fn_index": 3}, (3, [])), ({"data": []}, (None, [])),
])
@pytest.mark.parametrize("fits", [True, False])
def test_an_event_fits_the_controls_of_the_page(event, asked, fits):
    seen = []
    sent, _ = ask("POST", JOIN, messages=[part(json.dumps(event).encode())], fits=lambda *a: seen.append(a) or fits)
    assert (seen, sent[0]["status"]) == ([asked], 200 if fits else 400)


@pytest.mark.parametrize(("path", "listed"), [
    ("/", True), ("/config", True), ("/assets/a/b.js", True), ("/static/x", True), ("/healthz", True),
    ("/gradio_api/heartbeat/x", True), ("/files/a", True),
    ("/config/", False), ("/configuration", False), ("/x", False), ("/healthz/x", False),
    ("", False), ("config", False),
    ("/assets/../config", False), ("/assets/..", False), ("/assets/a\\x", False), ("/assets//x", False),
    ("/files/a..b", False), ("/gradio_api/file=/etc/passwd", False), ("/gradio_api/upload", False), ("/assets", False),
    ("/static/a\\..//b", False),
])
def test_paths_are_listed(path, listed):
    sent, app = ask(path=path)
    assert sent[0]["status"] == (200 if listed else 404)
    assert len(app.scopes) == listed


def test_an_answer_of_the_gates_own_is_whole_and_safe():
    sent, _ = ask(path="/nothing")
    start, body = sent
    assert (start["type"], start["status"], body) == (
        "http.response.start", 404, {"type": "http.response.body", "body": b"not found"},
    )
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/plain"
    assert b"connection" not in headers
    assert {name.lower().encode() for name in HEADERS} <= set(headers)


@pytest.mark.parametrize(("cookie", "visitor"), [
    (f"{COOKIE}=abcdefghijklmnop", "abcdefghijklmnop"), (f"a=b; {COOKIE}=abcdefghijklmnop; c=d", "abcdefghijklmnop"),
    (f"a=b;{COOKIE}=abcdefghijklmnop", "abcdefghijklmnop"), (f"{COOKIE}=short", ""), ("other=abcdefghijklmnop", ""),
    (f"{COOKIE}=abcdefgh=ijklmnop", ""), (f"x={COOKIE}=abcdefghijklmnop", ""), ("", ""),
    (f"{COOKIE}=short; {COOKIE}=abcdefghijklmnop", "abcdefghijklmnop"), ("caf\xe9=1", ""),
    (f"a=b {COOKIE}=abcdefghijklmnop", ""),
])
def test_a_visitor_is_known_by_the_cookie(cookie, visitor):
    assert visitor_of({"headers": [(b"host", b"x"), (b"cookie", cookie.encode("latin-1"))]}) == visitor


def test_without_headers_there_is_no_visitor():
    assert visitor_of({}) == ""


@pytest.mark.parametrize(("scheme", "more", "https"), [
    ("http", [], False), ("https", [], True), ("wss", [], True), ("http", [(b"x-forwarded-proto", b"https")], True),
    ("http", [(b"x-forwarded-proto", b"http")], False), ("https", [(b"x-forwarded-proto", b"http")], True),
])
def test_gradio_is_told_of_https_once_and_of_nothing_else(scheme, more, https):
    _, app = ask(scheme=scheme, more=more)
    told = [pair for pair in app.scopes[0]["headers"] if pair[0] == b"x-forwarded-proto"]
    assert told == ([(b"x-forwarded-proto", b"https")] if https else [])


@pytest.mark.parametrize(("scheme", "path", "cookie"), [
    ("http", "/", "HttpOnly; SameSite=Strict"), ("https", "/", "HttpOnly; SameSite=Strict; Secure"),
    ("http", "/config", None),
])
def test_the_page_itself_hands_out_a_cookie_to_whoever_has_none(scheme, path, cookie):
    sent, _ = ask(path=path, scheme=scheme)
    given = [value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    if cookie is None:
        assert given == []
    else:
        name, _, rest = given[0].partition("; ")
        assert rest == f"Path=/; {cookie}"
        assert visitor_of({"headers": [(b"cookie", name.encode())]})
    again, _ = ask(path=path, scheme=scheme, more=[(b"cookie", f"{COOKIE}=abcdefghijklmnop".encode())])
    assert not [name for name, _ in again[0]["headers"] if name == b"set-cookie"]


@pytest.mark.parametrize("headers", [[], [(b"host", b"")], [(b"host", b"a b")], None])
def test_a_host_that_is_none_is_refused_and_not_told(headers, caplog):
    scope = {"type": "http", "path": "/", "method": "GET"} | ({} if headers is None else {"headers": headers})
    sent = []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(Gate(App())(scope, None, send))
    assert sent[0]["status"] == 421
    assert caplog.records == []


def test_the_servers_own_beginning_and_end_pass():
    given = []

    async def app(*parts) -> None:
        given.append(parts)

    asyncio.run(Gate(app)({"type": "lifespan"}, "receive", "send"))
    assert given == [({"type": "lifespan"}, "receive", "send")]


def test_what_is_said_on_a_line_reaches_the_page():
    heard, said = [], []

    async def app(scope, receive, send) -> None:
        heard.append(await receive())
        await send({"type": "websocket.send", "text": "answer"})

    async def receive():
        return {"type": "websocket.receive", "text": "question"}

    async def send(message) -> None:
        said.append(message)

    scope = {"type": "websocket", "path": "/line", "headers": OURS, "server": ("127.0.0.1", 7860), "scheme": "ws"}
    asyncio.run(Gate(app)(scope, receive, send))
    assert (heard, said) == (
        [{"type": "websocket.receive", "text": "question"}], [{"type": "websocket.send", "text": "answer"}],
    )
