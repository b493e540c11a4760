"""The routes of the wall, put together: static page, login, tiles, events, plot, places and rules, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, Response

from demo.gate import HEADERS, Gate, Reach, visitor_of
from demo.hosts import Hosts
from demo.tabs import address_of
from demo.wall.accounts import Accounts, Attempts
from demo.wall.day import day_figure
from demo.wall.editing_api import add_editing
from demo.wall.guard import SESSION_S, Guard, add_login
from demo.wall.line import WallLine
from demo.wall.preview import History
from demo.wall.tiles import Tiles
from detector.errors import UserError
from stream.events.listing import moment
from stream.events.store import Wanted
from stream.service.api import answer_mistakes
from stream.service.events_api import add_events
from stream.service.running import Service

log = logging.getLogger(__name__)
LINES, LINES_PER_ADDRESS, FOLLOWERS = 64, 16, 32
DAY_EVENTS = 2000
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
REACH = Reach(
    paths=("/", "/login", "/logout", "/favicon.ico", "/static/", "/plotly.js", "/api/", "/healthz"),
    lines=("/line", "/api/events/changes"), unbounded=(), event_path="",
    headers={**HEADERS, "Content-Security-Policy": (
        # Plotly writes style elements of its own.
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "media-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'self'"
    ), "Permissions-Policy": "camera=(), microphone=(), geolocation=()"},
)


@dataclass(eq=False)
class Wall:
    """What the routes share.

    Attributes:
        service: that runs.
        accounts: who may log in; None lets in everybody who reaches the page.
        lines: open ones, by address and by visitor.
    """

    service: Service
    accounts: Accounts | None = None
    attempts: Attempts = field(default_factory=Attempts)
    tiles: Tiles = field(default_factory=Tiles)
    history: History = field(default_factory=History)
    lines: Counter[str] = field(default_factory=Counter)
    visitors: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.service.listeners.add(self.history.take)

    def has_page(self, visitor: str) -> bool:
        """Whether a visitor has a line."""
        return bool(visitor) and self.visitors[visitor] > 0


def create_wall_app(
    wall: Wall, key: str, hosts: Hosts | None = None, *, https: bool = False, under: str = "",
) -> Any:
    """The whole web application.

    Args:
        wall: shared state.
        key: signs sessions.
        hosts: under which names the page is reached; loopback's unless given.
        https: the page is reached by https alone, and so is its cookie.
        under: path at which a proxy serves the page, such as `/cameras`.
    """
    from starlette.middleware.sessions import SessionMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    answer_mistakes(app)
    add_login(app, wall.accounts, static_page, wall.attempts)
    _add_static(app)
    _add_state(app, wall)
    # Roles are the guard's: who gets here with a change may make it.
    add_events(app, wall.service.events, asyncio.Semaphore(FOLLOWERS), lambda: None)
    add_editing(app, wall.service, wall.history)
    guard: Any = Guard(app, wall.accounts)
    guarded = SessionMiddleware(
        guard, key, session_cookie="slowfast_session", max_age=SESSION_S, same_site="strict",
        https_only=https,
    )
    return UnderPath(Gate(guarded, hosts, reach=REACH), under)


class UnderPath:
    """ASGI: takes off the path at which a proxy serves the page, where the proxy has not."""

    def __init__(self, app: Any, under: str) -> None:
        self._app, self._under = app, under.rstrip("/")

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if self._under and path == self._under:
            # Addresses in the page are relative to a folder.
            headers = [(b"location", f"{self._under.rsplit('/', 1)[-1]}/".encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 308, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if self._under and path.startswith(f"{self._under}/"):
            shorter = path[len(self._under):]
            scope = {**scope, "path": shorter, "raw_path": shorter.encode()}
        await self._app(scope, receive, send)


def static_page(name: str) -> Response:
    """A file of `static/`; 404 for all else."""
    kind = KINDS.get(Path(name).suffix)
    folder = resources.files("demo.wall") / "static"
    if kind is None or "/" in name or not (folder / name).is_file():
        raise HTTPException(404, "not found")
    return Response((folder / name).read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})


def plotly_path() -> Path:
    """plotly.js as the Python package brings it.

    Raises:
        UserError: it is not installed.
    """
    spec = find_spec("plotly")
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec is not None else Path()
    path = folder / "package_data" / "plotly.min.js"
    if not path.is_file():
        raise UserError("the plot of a day needs plotly; run: pip install 'slowfast-live[demo]'")
    return path


def _add_static(app: FastAPI) -> None:
    @app.get("/")
    def index() -> Response:
        return static_page("index.html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return static_page("icon.svg")

    @app.get("/static/people.js")
    def people() -> Response:
        text = (resources.files("demo") / "assets" / "people.js").read_bytes()
        return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return static_page(name)

    @app.get("/plotly.js")
    def plotly() -> Response:
        return FileResponse(plotly_path(), media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})


def _add_state(app: FastAPI, wall: Wall) -> None:
    service = wall.service

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"lines": sum(wall.lines.values()), "alive": service.alive}

    @app.get("/api/day")
    def day(date: str = "") -> dict[str, Any]:
        start = datetime.fromtimestamp(moment(date)) if date else datetime.now()
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        since, until = start.timestamp(), (start + timedelta(days=1)).timestamp()
        desk = service.events.desk
        found = desk.store.events(Wanted(since, until, most=DAY_EVENTS)) if desk is not None else []
        marks = desk.store.marks() if desk is not None else {}
        now = min(until, max(time.time(), since + 60))
        figure = day_figure(found, service.supervisor.names(), since, now, marks=marks)
        return {"figure": figure, "date": start.date().isoformat(), "events": len(found)}

    @app.websocket("/line")
    async def line(socket: WebSocket) -> None:
        address, visitor = address_of(socket.scope.get("client")), visitor_of(socket.scope)
        if sum(wall.lines.values()) >= LINES or wall.lines[address] >= LINES_PER_ADDRESS:
            await socket.close(1013)
            return
        wall.lines[address] += 1
        wall.visitors[visitor] += 1
        try:
            await socket.accept()
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await WallLine(socket, service, wall.tiles).run()
        finally:
            wall.lines[address] -= 1
            wall.visitors[visitor] -= 1
            there = set(service.supervisor.names())
            wall.tiles.forget(there)
            wall.history.forget(there)
