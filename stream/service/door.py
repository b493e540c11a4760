"""Who may ask what: hosts, origins, the token. Pure ASGI, in front of the API."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from stream.service.settings import Server

# What a container's or a system's health check asks without a token; it tells no names without one.
OPEN_PATHS = ("/health/live", "/health/ready")
HEADERS = {
    b"content-security-policy":
        b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


class Door:
    """Lets through who calls the service by one of its names, from its own pages, with the token where there is one.

    Names are checked because a page of anybody's can make a browser call this machine under a name of its own; numbers
    cannot be made to point elsewhere and are let through.
    """

    def __init__(self, app: Any, server: Server) -> None:
        self._app = app
        self._token = server.token.get_secret_value() if server.token else None
        self._names = {"localhost", socket.gethostname().lower(), server.host.lower(), *map(str.lower, server.hosts)}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self.knows(headers.get("host", "")):
            return await _refuse(scope, send, 421, "this is not a name of the service; add it to server.hosts")
        origin = headers.get("origin")
        if origin and not self.knows(urlsplit(origin).netloc):
            return await _refuse(scope, send, 403, "pages of other hosts may not call the service")
        scope["authorized"] = self.is_authorized(headers.get("authorization", ""))
        if not scope["authorized"] and scope["path"] not in OPEN_PATHS:
            return await _refuse(scope, send, 401, "expected the header 'Authorization: Bearer TOKEN'")

        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS.items()]}
            await send(message)

        return await self._app(scope, receive, send_with_headers)

    def knows(self, host: str) -> bool:
        """Whether a Host header's name is one of the service's, or a number."""
        name = urlsplit(f"//{host}").hostname or ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True

    def is_authorized(self, header: str) -> bool:
        """Whether a request has the token, or needs none."""
        if self._token is None:
            return True
        kind, _, given = header.partition(" ")
        # Compared in constant time, as bytes: strangers may send anything.
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())


async def _refuse(scope: dict[str, Any], send: Any, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode() + b"\n"})
