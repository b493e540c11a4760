"""Events over HTTP: list, one with its reasons, picture, film, marks, and each change as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Body, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse, Response

from detector.errors import UserError
from stream.events.desk import Desk
from stream.events.listing import moment
from stream.events.records import Event, EventChange, event_to_json
from stream.events.schema import StoreAway
from stream.events.store import Wanted
from stream.service.event_desk import EventDesk
from stream.service.followers import Follower, serve_follower

MOST_EVENTS = 1000
CHANGES_WAITING = 200
MARKS = "right, wrong, wrong:ACTION or nothing"


def add_events(app: FastAPI, events: EventDesk, followers: asyncio.Semaphore, may_change: Any) -> None:
    """Add the routes to an app.

    Args:
        app: of the service.
        events: of the service; where nothing is watched for, all but the list answers 404.
        followers: shared by all who watch or follow.
        may_change: raises where callers may change nothing.
    """

    @app.exception_handler(StoreAway)
    async def _away(request: Request, error: StoreAway) -> JSONResponse:
        return JSONResponse({"errors": [str(error)]}, 503)

    _add_reading(app, events)
    _add_marks(app, events, may_change)

    @app.websocket("/api/events/changes")
    async def changes(socket: WebSocket) -> None:
        def follow(follower: Follower[EventChange]) -> Callable[[], None]:
            return events.follow(follower.tell)

        def text_of(change: EventChange) -> str:
            return json.dumps(change_json(change))

        await serve_follower(socket, followers, CHANGES_WAITING, follow, text_of)


def change_json(change: EventChange) -> dict[str, Any]:
    """`{"kind": "start", "event": …}`."""
    return {"kind": change.kind, "event": event_to_json(change.event, why=False)}


def _add_reading(app: FastAPI, events: EventDesk) -> None:
    @app.get("/api/events", summary="Events, newest first; since and until as 2h or 2026-01-31T09:00")
    def listed(
        camera: list[str] = Query([]), rule: list[str] = Query([]), action: list[str] = Query([]),  # noqa: B008
        since: str = "", until: str = "", most: int = Query(100, ge=1, le=MOST_EVENTS),
    ) -> list[dict[str, Any]]:
        if events.desk is None:
            return []
        wanted = Wanted(
            moment(since) if since else None, moment(until) if until else None, tuple(camera), tuple(rule), (),
            tuple(action), most=most,
        )
        marks = events.desk.store.marks()
        found = reversed(events.desk.store.events(wanted))
        return [event_to_json(event, why=False) | {"mark": marks.get(event.id, "")} for event in found]

    @app.get("/api/events/{event_id}", summary="One event, and why it is one")
    def one(event_id: str) -> dict[str, Any]:
        desk, event = _event(events, event_id)
        return event_to_json(event) | {"mark": desk.store.marks().get(event.id, "")}

    @app.get("/api/events/{event_id}/picture.jpg", summary="Its picture, with or without box", response_class=Response)
    def picture(event_id: str, boxes: bool = True) -> Response:
        desk, event = _event(events, event_id)
        path = _file(desk, event.snapshot)
        marked = path.with_name(f"{path.stem}-boxes.jpg")
        return FileResponse(marked if boxes and marked.is_file() else path, media_type="image/jpeg")

    @app.get("/api/events/{event_id}/film.mp4", summary="Its film", response_class=Response)
    def film(event_id: str) -> Response:
        desk, event = _event(events, event_id)
        return FileResponse(_file(desk, event.film), media_type="video/mp4")

    @app.get("/api/cameras/{name}/why-not", summary="What kept a camera's rules from telling, in the last minute")
    def why_not(name: str) -> list[str]:
        camera = events.camera(name)
        if camera is None:
            raise HTTPException(404, f"camera {name} has no rules")
        return camera.why_not()


def _add_marks(app: FastAPI, events: EventDesk, may_change: Any) -> None:
    @app.post("/api/events/{event_id}/mark", summary=f"Say what it was: {MARKS}")
    def mark(event_id: str, mark: str = Body("", embed=True)) -> dict[str, str]:
        may_change()
        desk, event = _event(events, event_id)
        if mark not in ("", "right", "wrong") and not (mark.startswith("wrong:") and len(mark) <= 100):
            raise UserError(f"mark: got {mark[:100]!r}, expected {MARKS}")
        desk.store.mark(event.id, mark)
        return {"marked": event.id, "mark": mark}


def _event(events: EventDesk, event_id: str) -> tuple[Desk, Event]:
    event = events.desk.store.event(event_id) if events.desk is not None and event_id else None
    if events.desk is None or event is None:
        raise HTTPException(404, f"event {event_id[:64]}: there is none of that id")
    return events.desk, event


def _file(desk: Desk, name: str) -> Path:
    """A picture or a film on the shelf, and nothing else."""
    folder = desk.shelf.folder.resolve()
    path = (folder / name).resolve()
    if not name or not path.is_relative_to(folder) or not path.is_file():
        raise HTTPException(404, "it is not there (yet), or has been deleted by its age")
    return path
