"""What stands before Gradio: a list of what is reachable, the visitor's cookie, headers that keep the page at home.

Gradio brings routes that serve files from disk and fetch addresses (`/gradio_api/file=`, `/proxy=`, uploads). None
of them is needed, so the gate lets through only what the page uses; the rest is a 404. It also refuses events that
hold more than plain values: Gradio takes an object that says it is a file for one, copies the path that it names into
its cache and downloads the address that it names, whatever component it was meant for.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

COOKIE = "slowfast_visitor"
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")

# All that the page asks of Gradio; compared with the path, or with its beginning where the entry ends in "/".
GRADIO_PATHS = (
    "/", "/config", "/theme.css", "/favicon.ico", "/assets/", "/static/", "/gradio_api/queue/join",
    "/gradio_api/queue/data", "/gradio_api/heartbeat/", "/gradio_api/cancel", "/gradio_api/reset",
    "/gradio_api/startup-events", "/gradio_api/app_id",
)
EVENT_PATH, MAX_EVENT_BYTES = "/gradio_api/queue/join", 200_000
OWN_PATHS = ("/upload", "/files/", "/line", "/healthz")
HEADERS = {
    # Nothing from elsewhere: the page works on a machine without internet, and leaks nothing to others.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
        "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Gate:
    """ASGI: lets through what is listed, hands out the visitor's cookie, adds safety headers."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        path = scope["path"]
        if not _is_listed(path) or (scope["type"] == "websocket" and path != "/line"):
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008})
            return await _answer(send, 404, b"not found")
        if scope["type"] == "websocket":
            return await self._app(scope, receive, send)
        if path == EVENT_PATH:
            body = await _read_body(receive, MAX_EVENT_BYTES)
            if body is None or not is_plain_event(body):
                return await _answer(send, 400, b"expected plain values")
            receive = _replay(body, receive)
        new = None if visitor_of(scope) else secrets.token_urlsafe(24)

        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                headers += [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                if new and path == "/":
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    cookie = f"{COOKIE}={new}; Path=/; HttpOnly; SameSite=Strict{secure}"
                    headers.append((b"set-cookie", cookie.encode()))
                message = {**message, "headers": headers}
            await send(message)

        return await self._app(scope, receive, send_with_headers)


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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


def _is_listed(path: str) -> bool:
    # Encoded separators never occur in what the page asks for.
    if ".." in path or "\\" in path or "//" in path:
        return False
    return any(path.startswith(p) if p.endswith("/") and p != "/" else path == p for p in GRADIO_PATHS + OWN_PATHS)


def visitor_of(scope: Any) -> str:
    """The visitor's token from a request's cookies; "" where there is none that looks like one of ours."""
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, token = part.strip().partition("=")
                if key == COOKIE and TOKEN.fullmatch(token):
                    return token
    return ""
