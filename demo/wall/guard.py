"""Who is asking: sessions in signed cookies, roles, the login. Pure ASGI and a few routes; see `accounts`."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from demo.tabs import address_of
from demo.wall.accounts import NAME, Accounts, Attempts
from detector.errors import UserError

SESSION_S = 14 * 86400
# What can be had without a session: the page where one logs in, and what it is made of.
OPEN = ("/login", "/static/login.css", "/static/login.js", "/favicon.ico")
# Asked before a session is given a role: who is anybody where no accounts are kept.
ANYBODY = ("", "admin")


class Guard:
    """ASGI, behind the session's: lets in who is logged in, and changes be made by admins alone."""

    def __init__(self, app: Any, accounts: Accounts | None) -> None:
        self._app, self._accounts = app, accounts

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        who = who_is(scope.get("session") or {}, self._accounts)
        scope["who"] = who
        path = scope["path"]
        if who is None and path not in OPEN:
            await _refuse(scope, receive, send)
            return
        asks = scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD") or path in ("/login", "/logout")
        if not asks and who is not None and who[1] != "admin":
            answer = JSONResponse({"errors": ["viewers may change nothing; log in as an admin"]}, 403)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def who_is(session: dict[str, Any], accounts: Accounts | None) -> tuple[str, str] | None:
    """Name and role of a session; None for nobody. Roles and passwords that changed hold at once."""
    if accounts is None:
        return ANYBODY
    account = accounts.find(str(session.get("name", "")))
    if account is None or not secrets.compare_digest(str(session.get("stamp", "")), account.stamp):
        return None
    return account.name, account.role


async def _refuse(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4401})
        return
    # A page is sent to the login, what scripts ask for is told.
    answer: Response = JSONResponse({"errors": ["log in first"]}, 401)
    if scope["path"] == "/":
        answer = RedirectResponse("login", 303)
    await answer(scope, receive, send)


def add_login(
    app: FastAPI, accounts: Accounts | None, page: Callable[[str], Response], attempts: Attempts | None = None
) -> None:
    """Add the routes of logging in and out.

    Args:
        app: to add to; its sessions are Starlette's.
        accounts: None where nobody has to log in.
        page: gives a static page by its name.
        attempts: counts failures.
    """
    tries = attempts or Attempts()

    @app.get("/login")
    def login_page(request: Request) -> Response:
        return page("login.html") if request.scope["who"] is None else RedirectResponse("./", 303)

    @app.post("/login")
    async def login(request: Request) -> Response:
        name, password = await _read_login(request)
        address = address_of(request.scope.get("client"))
        wait_s = tries.wait_s(address, name)
        if wait_s:
            headers = {"Retry-After": str(round(wait_s) + 1)}
            return JSONResponse({"errors": [f"too many tries; wait {round(wait_s) + 1} s"]}, 429, headers)
        account = await asyncio.to_thread(accounts.check, name, password) if accounts is not None else None
        if account is None:
            tries.failed(address, name)
            return JSONResponse({"errors": ["name or password are wrong"]}, 403)
        tries.succeeded(address)
        request.session.clear()
        request.session.update(name=account.name, stamp=account.stamp)
        return JSONResponse({"name": account.name, "role": account.role})

    @app.post("/logout")
    def logout(request: Request) -> Response:
        request.session.clear()
        return JSONResponse({})

    @app.get("/api/me")
    def me(request: Request) -> dict[str, Any]:
        name, role = request.scope["who"]
        return {"name": name, "role": role, "login": accounts is not None}


async def _read_login(request: Request) -> tuple[str, str]:
    try:
        given = await request.json()
    except ValueError:
        given = None
    name, password = (given.get(key) for key in ("name", "password")) if isinstance(given, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(password, str) or not NAME.fullmatch(name):
        raise UserError("login: expected a name and a password")
    return name, password


def session_key(folder: Path) -> str:
    """The key that signs sessions, kept in a folder so that logins outlast a restart.

    Raises:
        UserError: it cannot be kept.
    """
    path = folder / "wall-session.key"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_text(encoding="ascii").strip()
            if len(key) >= 32:
                return key
            path.unlink()
            return session_key(folder)
        with os.fdopen(made, "w", encoding="ascii") as file:
            key = secrets.token_urlsafe(48)
            file.write(key + "\n")
        return key
    except OSError as error:
        raise UserError(f"{path}: cannot be kept ({error.strerror}); set SLOWFAST_DATA to a folder of yours") from None
