"""The web server: the page (Gradio), the line of each page, uploads and results. What is not listed here is a 404.

Gradio brings routes that serve files from disk and fetch addresses (`/gradio_api/file=`, `/proxy=`, uploads). None
of them is needed, so a gate in front lets through only what the page uses. It also refuses events that hold more than
plain values: Gradio takes an object that says it is a file for one, copies the path that it names into its cache and
downloads the address that it names, whatever component it was meant for. Uploads and results have routes of their own,
bound to a visitor by a cookie that scripts and other sites cannot use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, Response

from demo.choices import Choices
from demo.jobs import Jobs, VideoInfo, inspect_video
from demo.pool import Busy, ModelPool, Seats
from demo.shelf import HEAD_BYTES, Folder, Shelf, check_container, clean_name
from demo.tab import Tab
from detector.errors import UserError
from stream.sources import Source

log = logging.getLogger(__name__)

COOKIE = "slowfast_visitor"
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
# A page that lost its line for a moment (a lift, a restarted proxy) finds its files again within this time.
GRACE_S = 30.0
SWEEP_EVERY_S = 60.0

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


@dataclass(frozen=True)
class Limits:
    """What visitors may use.

    Attributes:
        visitors: live streams at once.
        upload_bytes: size of an upload.
        video_s: length of a video.
    """

    visitors: int = 4
    upload_bytes: int = 200_000_000
    video_s: float = 600.0


@dataclass(eq=False)
class Backend:
    """What the routes and the page share."""

    pool: ModelPool
    limits: Limits
    default: Choices
    open_url: Callable[[str], Source] | None = None
    shelf: Shelf = field(default_factory=Shelf)
    uploading: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.seats = Seats(self.limits.visitors)
        self.jobs = Jobs(self.pool)
        self.tabs: dict[str, int] = {}

    def leave(self, tab: str) -> None:
        """Free what a page that is gone left behind."""
        self.jobs.cancel_tab(tab)
        removed = self.shelf.remove_tab(tab)
        if removed:
            log.info("a visitor left; %d folders deleted", removed)

    def close(self) -> None:
        """End all work and delete all files. May be called twice."""
        self.jobs.close()
        self.pool.close()
        self.shelf.close()


def create_app(backend: Backend, build_page: Callable[[Backend], Any], page_options: dict[str, Any]) -> Any:
    """The whole web application.

    Args:
        backend: closed when the application ends.
        build_page: makes the Gradio page.
        page_options: for Gradio's mounting: theme, css, head.

    Returns:
        An ASGI application.
    """
    import gradio

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(backend))
        try:
            yield
        finally:
            sweeper.cancel()
            await asyncio.to_thread(backend.close)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _add_routes(app, backend)
    app = gradio.mount_gradio_app(
        app, build_page(backend), path="", footer_links=[], run_history=False, ssr_mode=False, max_file_size=1,
        allowed_paths=[], enable_monitoring=False, pwa=False, mcp_server=False, show_error=False, **page_options,
    )
    return Gate(app)


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


def _add_routes(app: FastAPI, backend: Backend) -> None:
    @app.get("/healthz")
    async def healthz() -> Any:
        return {"watching": backend.seats.taken, "pages": len(backend.tabs), "folders": len(backend.shelf)}

    @app.post("/upload")
    async def upload(request: Request) -> Any:
        try:
            folder, info = await take_upload(backend, request)
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=429 if isinstance(error, Busy) else 400)
        return {"key": folder.key, "name": folder.shown_name, "width": info.width, "height": info.height,
                "duration_s": info.duration_s}

    @app.get("/files/{key}/{name}")
    async def files(request: Request, key: str, name: str, download: int = 0) -> Any:
        visitor = visitor_of(request.scope)
        served = backend.shelf.file(visitor, key, name) if visitor else None
        if served is None:
            return Response("not found, or not yours", status_code=404, media_type="text/plain")
        return FileResponse(
            served.path, media_type=served.media_type, filename=served.download_name,
            content_disposition_type="attachment" if download else "inline",
            headers={"Cache-Control": "private, no-store"},
        )

    @app.websocket("/line")
    async def line(socket: WebSocket, tab: str = "") -> None:
        await serve_line(backend, socket, tab)


async def serve_line(backend: Backend, socket: WebSocket, tab: str) -> None:
    """Serve a page's line until it ends, then free what the page left, unless it comes back soon."""
    origin = urlsplit(socket.headers.get("origin", "")).netloc
    # Another site's page can open sockets to us, but can neither hide where it came from nor set a proxy's header.
    ours = {socket.headers.get("host"), socket.headers.get("x-forwarded-host")}
    if not origin or origin not in ours or not visitor_of(socket.scope) or not TOKEN.fullmatch(tab):
        await socket.close(1008)
        return
    await socket.accept()
    backend.tabs[tab] = backend.tabs.get(tab, 0) + 1
    try:
        await Tab(socket, backend.pool, backend.seats, backend.default, open_url=backend.open_url).run()
    except (WebSocketDisconnect, RuntimeError) as error:
        # Starlette raises either of them when one writes to a page that has just gone.
        log.debug("a page left: %r", error)
    finally:
        backend.tabs[tab] -= 1
        if not backend.tabs[tab]:
            del backend.tabs[tab]
        asyncio.get_running_loop().call_later(GRACE_S, _leave_for_good, backend, tab)


def _leave_for_good(backend: Backend, tab: str) -> None:
    if tab not in backend.tabs:
        asyncio.get_running_loop().run_in_executor(None, backend.leave, tab)


async def take_upload(backend: Backend, request: Request) -> tuple[Folder, VideoInfo]:
    """Write an upload to a folder of its visitor, checking size and kind as it comes.

    Raises:
        UserError: too large, not a video, nothing there.
        Busy: another upload of this visitor is under way.
    """
    visitor, tab = visitor_of(request.scope), request.headers.get("x-tab", "")
    if not visitor or not TOKEN.fullmatch(tab):
        raise UserError("upload: reload the page first (no cookie came with it)")
    name = clean_name(unquote(request.headers.get("x-file-name", "")))
    limit = backend.limits.upload_bytes
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large(name, int(length), limit)
    if visitor in backend.uploading:
        raise Busy("another upload of yours is under way; wait for it to end")
    folder = backend.shelf.create(visitor, tab, name)
    backend.uploading.add(visitor)
    try:
        path = await _write_body(request, folder, limit)
        info = await asyncio.to_thread(inspect_video, path, name, backend.limits.video_s)
    except BaseException:
        backend.shelf.remove(folder)
        raise
    finally:
        backend.uploading.discard(visitor)
    return folder, info


async def _write_body(request: Request, folder: Folder, limit: int) -> Path:
    head, taken, file = b"", 0, None
    try:
        async for chunk in request.stream():
            taken += len(chunk)
            if taken > limit:
                raise too_large(folder.shown_name, taken, limit)
            if file is None:
                head += chunk
                if len(head) < HEAD_BYTES:
                    continue
                file, chunk = _open_upload(folder, head), head
            # Written in the loop: chunks are 64 KiB and the page cache takes them at once.
            file.write(chunk)
        if file is None:
            if not head:
                raise UserError(f"{folder.shown_name}: is empty (0 bytes), expected a video")
            file = _open_upload(folder, head)
            file.write(head)
    finally:
        if file is not None:
            file.close()
    return Path(file.name)


def _open_upload(folder: Folder, head: bytes) -> BinaryIO:
    suffix = check_container(head[:HEAD_BYTES], folder.shown_name)
    return (folder.path / f"upload{suffix}").open("wb")


def too_large(name: str, size_bytes: int, limit_bytes: int) -> UserError:
    """The error of an upload over the limit."""
    return UserError(
        f"{name}: {size_bytes / 1e6:.0f} MB, expected at most {limit_bytes / 1e6:.0f} MB; "
        "cut out the part that matters or save it smaller"
    )


async def _sweep(backend: Backend) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        await asyncio.to_thread(backend.shelf.sweep)


