"""What stands before Gradio: a list of what is reachable and under which names, the visitor's cookie, safe headers.

Gradio brings routes that serve files from disk and fetch addresses (`/gradio_api/file=`, `/proxy=`, uploads). None
of them is needed, so the gate lets through only what the page uses; the rest is a 404. It also refuses events that
hold more than plain values: Gradio takes an object that says it is a file for one, copies the path that it names into
its cache and downloads the address that it names, whatever component it was meant for.

Other sites are kept out: a request must be sent to a host of ours (`demo.hosts`), what changes something must come
from our own page, and no answer carries the CORS headers that Gradio adds for every asker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.hosts import Hosts, split_host

log = logging.getLogger(__name__)

COOKIE = "slowfast_visitor"
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")

# All that the page asks of Gradio; compared with the path, or with its beginning where the entry ends in "/".
GRADIO_PATHS = (
    "/", "/config", "/theme.css", "/favicon.ico", "/assets/", "/static/", "/gradio_api/queue/join",
    "/gradio_api/queue/data", "/gradio_api/heartbeat/", "/gradio_api/cancel", "/gradio_api/reset",
    "/gradio_api/startup-events", "/gradio_api/app_id",
)
EVENT_PATH, MAX_EVENT_BYTES = "/gradio_api/queue/join", 200_000
LINE_PATH, UPLOAD_PATH = "/line", "/upload"
OWN_PATHS = (UPLOAD_PATH, "/files/", LINE_PATH, "/healthz", "/clip.mp4", "/clip.json")
METHODS = ("GET", "HEAD", "POST")
# An event of the page is a few hundred bytes; whoever takes longer to send it holds a place for nothing.
BODY_S = 10.0
# What Gradio would believe about where the page is; see `_cleaned`.
FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-server", b"x-gradio-server",
             b"forwarded")
# So many refused hosts are named in the log.
HOSTS_TOLD = 5
HEADERS = {
    # Nothing from elsewhere: the page works on a machine without internet, and leaks nothing to others.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
        "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Reach:
    """What can be asked for.

    Attributes:
        paths: compared with a request's path, or with its beginning where the entry ends in "/".
        lines: paths of WebSockets, in the same way.
        headers: put on every answer.
        unbounded: paths whose bodies are theirs to check; all others are read whole, up to a limit.
        event_path: where Gradio takes events.
    """

    paths: tuple[str, ...] = GRADIO_PATHS + OWN_PATHS
    lines: tuple[str, ...] = (LINE_PATH,)
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)
    unbounded: tuple[str, ...] = (UPLOAD_PATH,)
    event_path: str = EVENT_PATH


class Gate:
    """ASGI: lets through what is listed and ours, hands out the visitor's cookie, puts safety headers in place."""

    def __init__(
        self, app: Any, hosts: Hosts | None = None, *, body_s: float = BODY_S,
        fits: Callable[[object, list[Any]], bool] = lambda number, values: True, reach: Reach | None = None,
    ) -> None:
        """
        Args:
            app: what stands behind.
            hosts: under which names the page is reached; loopback's unless given.
            body_s: how long the body of an event may take to come.
            fits: whether an event's number and values are such as the page's controls give.
            reach: what can be asked for; what Gradio's page needs unless given.
        """
        self._reach = reach or Reach()
        self._app, self._hosts, self._body_s, self._fits = app, hosts or Hosts(), body_s, fits
        self._told: set[str] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        is_line = scope["type"] == "websocket"
        refused = self._refusal(scope, is_line)
        if refused is not None:
            if is_line:
                return await send({"type": "websocket.close", "code": 1008})
            return await self._answer(send, *refused)
        scope = self._cleaned(scope)
        if is_line:
            return await self._app(scope, receive, _without_cors(send))
        path = scope["path"]
        if scope["method"] == "POST" and path not in self._reach.unbounded:
            try:
                async with asyncio.timeout(self._body_s):
                    body = await _read_body(receive, MAX_EVENT_BYTES)
            except TimeoutError:
                return await self._answer(send, 408, b"it took too long to come", close=True)
            if body is None or not _is_flat(body) or (path == self._reach.event_path and not self._is_ours(body)):
                return await self._answer(send, 400, b"expected plain values")
            receive = _replay(body, receive)
        new = None if visitor_of(scope) else secrets.token_urlsafe(24)

        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *self._safety_headers()]
                if new and path == "/":
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    cookie = f"{COOKIE}={new}; Path=/; HttpOnly; SameSite=Strict{secure}"
                    headers.append((b"set-cookie", cookie.encode()))
                message = {**message, "headers": headers}
            await send(message)

        return await self._app(scope, receive, _without_cors(send_with_headers))

    def _refusal(self, scope: dict[str, Any], is_line: bool) -> tuple[int, bytes] | None:
        """Status and words for a request that goes no further; None for one that does."""
        if not self._hosts.allows(scope):
            self._tell(scope)
            return 421, b"this page is not served under that name; the server's option --host-name adds one"
        if not _is_listed(scope["path"], self._reach.lines if is_line else self._reach.paths):
            return 404, b"not found"
        if not is_line and scope["method"] not in METHODS:
            return 405, b"method not allowed"
        changes = is_line or scope["method"] == "POST"
        if changes and not self._hosts.comes_from_page(scope, needed=is_line):
            return 403, b"this did not come from the page itself"
        return None

    def _is_ours(self, body: bytes) -> bool:
        if not is_plain_event(body):
            return False
        event = json.loads(body)
        return self._fits(event.get("fn_index"), event.get("data", []))

    def _safety_headers(self) -> list[tuple[bytes, bytes]]:
        return [(k.lower().encode(), v.encode()) for k, v in self._reach.headers.items()]

    async def _answer(self, send: Any, status: int, body: bytes, *, close: bool = False) -> None:
        headers = [(b"content-type", b"text/plain"), *self._safety_headers()]
        headers += [(b"connection", b"close")] if close else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _cleaned(self, scope: dict[str, Any]) -> dict[str, Any]:
        """Without what only a proxy may say; Gradio builds the page's addresses from it."""
        headers = [(key, value) for key, value in scope.get("headers", ()) if key.lower() not in FORWARDED]
        host = self._hosts.forwarded_host(scope)
        if host:
            headers.append((b"x-forwarded-host", host.encode("latin-1")))
        behind_https = (b"x-forwarded-proto", b"https") in scope.get("headers", ())
        if behind_https or scope.get("scheme") in ("https", "wss"):
            headers.append((b"x-forwarded-proto", b"https"))
        return {**scope, "headers": headers}

    def _tell(self, scope: dict[str, Any]) -> None:
        asked = [value.decode("latin-1") for key, value in scope.get("headers", ()) if key.lower() == b"host"]
        name = (split_host(asked[0]) or ("",))[0] if asked else ""
        if name and name not in self._told and len(self._told) < HOSTS_TOLD:
            self._told.add(name)
            log.warning("refused to be asked for as %s; if that is this server, add --host-name %s", name, name)


def _without_cors(send: Any) -> Any:
    """`send` that lets no other site read an answer."""

    async def send_without(message: dict[str, Any]) -> None:
        if message.get("headers"):
            kept = [(k, v) for k, v in message["headers"] if not bytes(k).lower().startswith(b"access-control-")]
            message = {**message, "headers": kept}
        await send(message)

    return send_without


async def _read_body(receive: Any, limit: int) -> bytes | None:
    """A request's body; None where it is over the limit or the sender has gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Any) -> Any:
    """`receive` with that body in front."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return messages.pop() if messages else await receive()

    return replay


def _is_flat(body: bytes) -> bool:
    """Whether a body can be read as JSON without running out of stack; what is no JSON is told of elsewhere."""
    try:
        json.loads(body)
    except RecursionError:
        return False
    except ValueError:
        return True
    return True


def is_plain_event(body: bytes) -> bool:
    """Whether an event of the page holds only what its controls give: texts, numbers, yes or no, lists of texts."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(event, dict) or not isinstance(event.get("data", []), list):
        return False
    plain = str | int | float | bool | None
    return all(
        isinstance(value, plain) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
        for value in event.get("data", [])
    )


def _is_listed(path: str, listed: tuple[str, ...]) -> bool:
    # Encoded separators never occur in what the page asks for.
    if ".." in path or "\\" in path or "//" in path:
        return False
    return any(path.startswith(p) if p.endswith("/") and p != "/" else path == p for p in listed)


def visitor_of(scope: Any) -> str:
    """The visitor's token from a request's cookies; "" where there is none that looks like one of ours."""
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, token = part.strip().partition("=")
                if key == COOKIE and TOKEN.fullmatch(token):
                    return token
    return ""
