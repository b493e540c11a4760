"""State, metrics, pictures and answers over HTTP. The one door to fastapi and uvicorn.

Nothing here computes: it asks the service, draws in worker threads, and stops drawing when nobody looks.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from detector.errors import UserError
from stream.results import KeyFrameResult, result_to_json
from stream.service.camera import Camera
from stream.service.door import Door
from stream.service.events_api import add_events
from stream.service.followers import Follower, serve_follower
from stream.service.metrics import CONTENT_TYPE
from stream.service.running import Service
from stream.service.settings import Server
from stream.service.snapshot import is_ready

log = logging.getLogger(__name__)
# Who watches pictures or follows answers at the same time; each costs drawing or memory.
MOST_FOLLOWERS = 32
ANSWERS_WAITING = 50


def answer_json(camera: Camera, result: KeyFrameResult) -> dict[str, Any]:
    """An answer as JSON, schema 1, with the actions that are of interest."""
    limits = camera.thresholds()
    wanted = camera.actions()
    if wanted is not None:
        others = np.ones(len(limits), bool)
        others[wanted] = False
        limits[others] = np.inf
    return result_to_json(result, limits)


def answer_mistakes(app: FastAPI) -> None:
    """A caller's mistake is an answer with its lines: 404 for a camera that there is not, else 400."""

    @app.exception_handler(UserError)
    async def _mistake(request: Request, error: UserError) -> JSONResponse:
        missing = "there is none of that name" in str(error)
        return JSONResponse({"errors": str(error).splitlines()}, 404 if missing else 400)


def watched_camera(service: Service, name: str) -> Camera:
    """A camera that runs and whose pictures may be seen.

    Raises:
        UserError: there is none of that name.
        HTTPException: it is off, or keeps numbers only.
    """
    camera = service.supervisor.camera(name)
    if camera is None:
        raise HTTPException(404, f"camera {name} is off")
    if camera.settings.pictures == "none":
        raise HTTPException(404, f"camera {name} keeps numbers only (pictures: none)")
    return camera


def create_app(service: Service) -> FastAPI:
    """The API of a service."""
    about = "Many cameras: state, answers, pictures"
    app = FastAPI(title="slowfast-live", summary=about, docs_url=None, redoc_url=None)
    followers = asyncio.Semaphore(MOST_FOLLOWERS)

    answer_mistakes(app)
    _add_state(app, service)
    _add_changes(app, service)
    _add_pictures(app, service, followers)
    add_events(app, service.events, followers, _may_change(service))
    return app


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", summary="Whether the process is alive")
    def live() -> Response:
        return PlainTextResponse("alive\n" if service.alive else "stuck\n", 200 if service.alive else 503)

    @app.get("/health/ready", summary="Whether every camera that should be on gives pictures; which does not")
    def ready(request: Request) -> Response:
        fine, red = is_ready(service.snapshot())
        if not request.scope["authorized"]:
            red = [f"{len(red)} cameras are silent"] if red else []
        return PlainTextResponse("ready\n" if fine else "\n".join(red) + "\n", 200 if fine else 503)

    @app.get("/metrics", summary="Numbers for Prometheus")
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/api/cameras", summary="All cameras and the process")
    def cameras() -> dict[str, Any]:
        return service.snapshot().to_json()

    @app.get("/api/cameras/{name}", summary="One camera and its last answer")
    def camera(name: str) -> dict[str, Any]:
        running = service.supervisor.camera(name)
        state = next(one for one in service.snapshot().to_json()["cameras"] if one["name"] == name)
        last = running.last_answer if running else None
        return {**state, "last_answer": answer_json(running, last) if running and last else None}

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(_docs_page(app.openapi()))


def _may_change(service: Service) -> Callable[[], None]:
    def may_change() -> None:
        if service.described.file.server.token is None:
            raise HTTPException(403, "changes need a token: set server.token in the cameras' file")

    return may_change


def _add_changes(app: FastAPI, service: Service) -> None:
    may_change = _may_change(service)

    @app.post("/api/cameras/{name}", status_code=201, summary="Run one more camera, until the process ends")
    def add(name: str, settings: dict[str, Any] = Body(...)) -> dict[str, str]:  # noqa: B008
        may_change()
        service.add(name, settings)
        return {"added": name}

    @app.post("/api/cameras/{name}/pause", summary="Stop a camera until it is resumed")
    def pause(name: str) -> dict[str, str]:
        may_change()
        service.supervisor.pause(name)
        return {"paused": name}

    @app.post("/api/cameras/{name}/resume", summary="Let a paused camera go on")
    def resume(name: str) -> dict[str, str]:
        may_change()
        service.supervisor.pause(name, False)
        return {"resumed": name}

    @app.delete("/api/cameras/{name}", summary="Stop a camera and forget it, until the process ends")
    def remove(name: str) -> dict[str, str]:
        may_change()
        service.remove(name)
        return {"removed": name}


def _add_pictures(app: FastAPI, service: Service, followers: asyncio.Semaphore) -> None:
    @app.get("/api/cameras/{name}/picture.jpg", summary="The latest picture", response_class=Response)
    def picture(name: str) -> Response:
        jpeg = service.pictures.jpeg(watched_camera(service, name))
        if jpeg is None:
            raise HTTPException(503, f"camera {name} has no picture yet")
        return Response(jpeg, media_type="image/jpeg")

    @app.get("/api/cameras/{name}/video", summary="Pictures one after another (MJPEG)", response_class=Response)
    async def video(name: str) -> Response:
        watched_camera(service, name)
        if followers.locked():
            raise HTTPException(503, f"{MOST_FOLLOWERS} are watching already")
        return StreamingResponse(_mjpeg(service, name, followers), media_type="multipart/x-mixed-replace; boundary=p")

    @app.websocket("/api/cameras/{name}/answers")
    async def answers(socket: WebSocket, name: str) -> None:
        if name not in service.supervisor.names():
            return await socket.close(1008)

        def follow(follower: Follower[KeyFrameResult]) -> Callable[[], None]:
            return service.listeners.add(lambda camera, result: follower.tell(result) if camera == name else None)

        def text_of(result: KeyFrameResult) -> str | None:
            try:
                camera = service.supervisor.camera(name)
            except UserError as error:
                raise RuntimeError(str(error)) from None  # it was removed meanwhile
            return None if camera is None else json.dumps(answer_json(camera, result))

        return await serve_follower(socket, followers, ANSWERS_WAITING, follow, text_of)


async def _mjpeg(service: Service, name: str, followers: asyncio.Semaphore) -> AsyncIterator[bytes]:
    async with followers:
        last = b""
        while True:
            try:
                camera = service.supervisor.camera(name)
            except UserError:
                return
            if camera is None:
                return
            jpeg = await asyncio.to_thread(service.pictures.jpeg, camera)
            if jpeg and jpeg is not last:
                last = jpeg
                yield b"--p\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)
            await asyncio.sleep(1 / camera.settings.display_fps)


def _docs_page(schema: dict[str, Any]) -> str:
    """What can be asked, as a page that loads nothing from elsewhere."""
    rows = [
        f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(about.get('summary', ''))}</td></tr>"
        for path, methods in schema["paths"].items() for method, about in methods.items()
    ]
    rows.append(
        "<tr><td>WebSocket</td><td><code>/api/cameras/{name}/answers</code></td>"
        "<td>Each answer as one JSON text</td></tr>"
        "<tr><td>WebSocket</td><td><code>/api/events/changes</code></td>"
        "<td>Each change of an event as one JSON text</td></tr>"
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>slowfast-live</title>"
        "<style>body{font:16px sans-serif;margin:2em}td{padding:.3em 1em .3em 0}</style>"
        f"<h1>slowfast-live</h1><table>{''.join(rows)}</table>"
        "<p>All of it in machine's words: <a href='/openapi.json'>openapi.json</a>.</p></html>"
    )


class ApiServer:
    """The API in a thread of its own."""

    def __init__(self, service: Service, server: Server) -> None:
        """Listen.

        Raises:
            UserError: the address cannot be listened on.
        """
        try:
            self._socket = socket.create_server(
                (server.host, server.port), family=socket.AF_INET6 if ":" in server.host else socket.AF_INET
            )
        except OSError as error:
            raise UserError(
                f"server {server.host}:{server.port}: cannot listen there ({error.strerror}); "
                "choose another server.port"
            ) from None
        host, self.port = server.host, self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        config = uvicorn.Config(
            Door(create_app(service), server), log_config=None, access_log=False, lifespan="off",
            timeout_graceful_shutdown=1, server_header=False,
        )
        self._server = uvicorn.Server(config)
        # Signals belong to the main thread's own handlers.
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> bool:
        """Stop serving; True if the thread ended in time."""
        self._server.should_exit = True
        self._thread.join(timeout_s)
        self._server.force_exit = True
        self._socket.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        except Exception:
            log.exception("the API ended")
