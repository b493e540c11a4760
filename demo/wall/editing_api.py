"""Places and rules over HTTP: what stands in the file, who is where now, what a rule would have told, saving."""

from __future__ import annotations

from typing import Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import Response
from pydantic import ValidationError

from demo.wall import editing
from demo.wall.preview import History, would_have_told
from detector.errors import UserError
from stream.events.rules import RuleSet
from stream.service.api import watched_camera
from stream.service.running import Service

STILL_PX = 1280


def add_editing(app: FastAPI, service: Service, history: History) -> None:
    """Add the routes."""
    _add_places(app, service)
    _add_rules(app, service, history)


def _add_places(app: FastAPI, service: Service) -> None:
    path = service.described.path

    @app.get("/api/cameras/{name}/still.jpg")
    def still(name: str) -> Response:
        from demo.wall.tiles import Tiles

        tile = Tiles().picture(watched_camera(service, name), STILL_PX)
        if tile is None:
            raise HTTPException(503, f"camera {name} has no picture now")
        return Response(tile.jpeg, media_type="image/jpeg", headers={"X-About": tile.about.decode(),
                                                                     "Cache-Control": "no-store"})

    @app.get("/api/cameras/{name}/places")
    def places(name: str) -> dict[str, Any]:
        service.supervisor.settings(name)
        return {"places": editing.places_of(path, name), "stamp": editing.stamp_of(path)}

    @app.post("/api/cameras/{name}/places")
    def save(name: str, places: dict[str, Any] = Body(...), stamp: str = Body(...)) -> dict[str, Any]:  # noqa: B008
        known = {key: value for key, value in places.items() if key in editing.PLACES}
        made = editing.write_places(path, name, known, stamp)
        service.ask_reload()
        return {"stamp": made}


def _add_rules(app: FastAPI, service: Service, history: History) -> None:
    path = service.described.path

    @app.get("/api/cameras/{name}/rules")
    def rules(name: str) -> dict[str, Any]:
        camera = service.supervisor.camera(name)
        session = camera.session if camera is not None else None
        known = session.model.works_on_real_video if session is not None else None
        actions = [] if session is None else [
            {"name": a.name, "short": a.short_name, "proven": known is None or a.name in known}
            for a in session.model.labels
        ]
        places = editing.places_of(path, name)
        return {
            "rules": editing.rules_of(path, name), "stamp": editing.stamp_of(path), "actions": actions,
            "zones": list(places["zones"]), "lines": list(places["lines"]),
        }

    @app.post("/api/cameras/{name}/rules/preview")
    def preview(name: str, rule: dict[str, Any] = Body(..., embed=True)) -> dict[str, Any]:  # noqa: B008
        service.supervisor.settings(name)
        made = build_rules(editing.places_of(path, name), rule)
        return would_have_told(name, made, made.rules[0].name, history.of(name))

    @app.post("/api/cameras/{name}/rules")
    def save(
        name: str, stamp: str = Body(...), rule: dict[str, Any] | None = Body(None), before: str = Body(""),  # noqa: B008
    ) -> dict[str, Any]:
        if rule is not None:
            build_rules(editing.places_of(path, name), rule)
        if rule is None and not before:
            raise UserError("rules: expected a rule, or the name of one to take out")
        made = editing.write_rule(path, name, rule, before or str((rule or {}).get("name", "")), stamp)
        service.ask_reload()
        return {"stamp": made}


def build_rules(places: dict[str, Any], rule: dict[str, Any]) -> RuleSet:
    """The rule set of a camera's places and one rule.

    Raises:
        UserError: a line for each mistake.
    """
    try:
        return RuleSet.model_validate({"zones": places["zones"], "lines": places["lines"], "rules": [rule]})
    except ValidationError as error:
        lines = []
        for one in error.errors(include_url=False, include_input=False):
            where = ".".join(str(part) for part in one["loc"] if not isinstance(part, int) and part != "rules")
            lines.append(f"{where or 'rule'}: {one['msg'].removeprefix('Value error, ')}")
        raise UserError("\n".join(lines)) from None
