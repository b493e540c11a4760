"""The web server: the page (Gradio), the line of each page, uploads and results, behind the gate of `demo.gate`.

Uploads and results have routes of their own, bound to a visitor by a cookie that scripts and other sites cannot use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, Response

from demo.choices import Choices
from demo.gate import TOKEN, Gate, visitor_of
from demo.jobs import Jobs, VideoInfo, inspect_video
from demo.pool import Busy, ModelPool, Seats
from demo.shelf import HEAD_BYTES, Folder, Shelf, check_container, clean_name
from demo.tab import Tab
from detector.errors import UserError
from stream.sources import Source

log = logging.getLogger(__name__)

# A page that lost its line for a moment (a lift, a restarted proxy) finds its files again within this time.
GRACE_S = 30.0
SWEEP_EVERY_S = 60.0

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


