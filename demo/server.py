"""The web server: the page (Gradio), the line of each page, uploads and results, behind the gate of `demo.gate`.

Uploads and results have routes of their own, bound to a visitor by a cookie that scripts and other sites cannot use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, Response

from demo.choices import Choices
from demo.first_clip import ASSET
from demo.gate import TOKEN, Gate, visitor_of
from demo.hosts import Hosts
from demo.job_line import Jobs
from demo.jobs import Job
from demo.pool import Busy, ModelPool, Seats
from demo.shelf import Shelf
from demo.tab import Tab
from demo.tabs import Tabs, address_of
from demo.uploads import Stalled, Uploads, take_upload
from detector.errors import UserError
from stream.sources import SAMPLE, Source

log = logging.getLogger(__name__)

# A page that lost its line for a moment (a lift, a restarted proxy) finds its files again within this time.
GRACE_S = 30.0
SWEEP_EVERY_S = 60.0
# One page has one line; a household or an office has one address.
LINES_PER_ADDRESS = 32


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
    uploads: Uploads = field(default_factory=Uploads)

    def __post_init__(self) -> None:
        self.seats = Seats(self.limits.visitors)
        self.jobs = Jobs(self.pool)
        self.tabs = Tabs(max(LINES_PER_ADDRESS, 8 * self.limits.visitors))
        self.inspector = ThreadPoolExecutor(1, thread_name_prefix="inspect")

    def work_of(self, tab: str, visitor: str) -> Job | None:
        """The video that a page waits for, or the last one that it got."""
        return self.jobs.of_tab(tab, visitor) or self.shelf.result_of(tab, visitor)

    def leave(self, tab: str, visitor: str | None = None) -> None:
        """Free what a page that is gone left behind; with `visitor`, of theirs alone."""
        self.jobs.cancel_tab(tab, visitor)
        removed = self.shelf.remove_tab(tab, visitor)
        if removed:
            log.info("a visitor left; %d folders deleted", removed)

    def close(self) -> None:
        """End all work and delete all files. May be called twice."""
        self.inspector.shutdown(wait=True, cancel_futures=True)
        self.jobs.close()
        self.pool.close()
        self.shelf.close()


def create_app(
    backend: Backend, build_page: Callable[[Backend], Any], page_options: dict[str, Any], hosts: Hosts | None = None,
) -> Any:
    """The whole web application.

    Args:
        backend: closed when the application ends.
        build_page: makes the Gradio page.
        page_options: for Gradio's mounting: theme, css, head.
        hosts: under which names the page is reached; loopback's unless given.

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
    page = build_page(backend)
    app = gradio.mount_gradio_app(
        app, page, path="", footer_links=[], run_history=False, ssr_mode=False, max_file_size=1,
        allowed_paths=[], enable_monitoring=False, pwa=False, mcp_server=False, show_error=False, **page_options,
    )
    return Gate(app, hosts, fits=event_check(page))


def event_check(page: Any) -> Callable[[object, list[Any]], bool]:
    """Tells whether values are such as the page's controls give: Gradio answers others with tracebacks.

    Args:
        page: `gradio.Blocks`.

    Returns:
        A function of an event's number and its values.
    """
    inputs = {number: list(handler.inputs) for number, handler in page.fns.items()}

    def fits(number: object, values: list[Any]) -> bool:
        if not isinstance(number, int) or isinstance(number, bool) or len(values) != len(inputs.get(number, "?" * 99)):
            return False
        return all(_is_given_by(control, value) for control, value in zip(inputs[number], values, strict=True))

    return fits


def _is_given_by(control: Any, value: Any) -> bool:
    if getattr(control, "multiselect", False):
        # Its names change with the model; those that it lacks are refused by `read_choices`.
        return value is None or isinstance(value, list)
    try:
        control.preprocess(value)
    except Exception:
        # Each kind of control raises what it likes.
        return False
    return True


def _add_routes(app: FastAPI, backend: Backend) -> None:
    @app.get("/healthz")
    async def healthz() -> Any:
        return {"watching": backend.seats.taken, "pages": len(backend.tabs), "folders": len(backend.shelf)}

    @app.post("/upload")
    async def upload(request: Request) -> Any:
        try:
            folder, info = await take_upload(backend, request)
        except UserError as error:
            status = 429 if isinstance(error, Busy) else 408 if isinstance(error, Stalled) else 400
            # What still comes of a stalled upload is not waited for.
            headers = {"connection": "close"} if isinstance(error, Stalled) else None
            return JSONResponse({"error": str(error)}, status, headers)
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

    @app.get("/clip.mp4")
    async def clip() -> Any:
        return FileResponse(SAMPLE, media_type="video/mp4", headers={"Cache-Control": "max-age=3600"})

    @app.get("/clip.json")
    async def clip_labels() -> Any:
        return FileResponse(ASSET, media_type="application/json", headers={"Cache-Control": "max-age=3600"})

    @app.websocket("/line")
    async def line(socket: WebSocket, tab: str = "") -> None:
        await serve_line(backend, socket, tab)


async def serve_line(backend: Backend, socket: WebSocket, tab: str) -> None:
    """Serve a page's line until it ends, then free what the page left, unless it comes back soon."""
    visitor = visitor_of(socket.scope)
    if not visitor or not TOKEN.fullmatch(tab):
        await socket.close(1008)
        return
    try:
        backend.tabs.open(tab, visitor, address_of(socket.scope.get("client")))
    except Busy:
        await socket.close(1013)
        return
    try:
        await socket.accept()
        await Tab(
            socket, backend.pool, backend.seats, backend.default, open_url=backend.open_url,
            has_work=lambda: backend.work_of(tab, visitor) is not None,
        ).run()
    except (WebSocketDisconnect, RuntimeError) as error:
        # Starlette raises either of them when one writes to a page that has just gone.
        log.debug("a page left: %r", error)
    finally:
        backend.tabs.hang_up(tab, visitor)
        asyncio.get_running_loop().call_later(GRACE_S, _leave_for_good, backend, tab, visitor)


def _leave_for_good(backend: Backend, tab: str, visitor: str) -> None:
    if backend.tabs.forget(tab, visitor):
        asyncio.get_running_loop().run_in_executor(None, backend.leave, tab, visitor)


async def _sweep(backend: Backend) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        await asyncio.to_thread(backend.shelf.sweep)
