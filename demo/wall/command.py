"""`python -m demo --cameras FILE`: the service, its API, and the page of all its cameras on top."""

from __future__ import annotations

import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.ending import ends_at_sigterm
from demo.hosts import Hosts, hosts_of
from demo.wall.accounts import Accounts
from detector.errors import UserError

log = logging.getLogger(__name__)
NEEDED = ("fastapi", "uvicorn", "websockets", "ruamel.yaml", "pydantic", "sqlalchemy", "itsdangerous", "plotly")
INSTALL = "pip install 'slowfast-live[demo,serve,events]'"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CLOSE_S = 2.5


def check_wall(host: str, host_names: list[str], accounts: str | None, under: str) -> Accounts | None:
    """Check what the page needs before anything starts.

    Raises:
        UserError: a package is missing, a path is none, or strangers could reach the page without a password.
    """
    missing = [name for name in NEEDED if not _is_there(name)]
    if missing:
        raise UserError(f"the page of all cameras needs {', '.join(missing)}; run: {INSTALL}")
    if under and (not under.startswith("/") or ".." in under or not under.isascii()):
        raise UserError(f"--root-path {under}: expected a path such as /cameras")
    if accounts is None:
        if host not in LOOPBACK or host_names:
            raise UserError(
                "--accounts: none, expected a file of accounts because others than this machine can reach the page; "
                "run: python -m demo.wall.accounts accounts.txt add NAME --role admin"
            )
        return None
    return Accounts(accounts)


def run_wall(
    file: str, listener: socket.socket, *, hosts: Hosts | None = None, accounts: Accounts | None = None,
    tls: tuple[str | None, str | None] = (None, None), under: str = "", say: Callable[[str], None] = print,
) -> None:
    """Run the service of a file and serve its page until Ctrl-C.

    Raises:
        UserError: mistakes in the file, or the API cannot listen.
    """
    from stream.service.api import ApiServer
    from stream.service.following import Following
    from stream.service.logs import Secrets, start_logging
    from stream.service.running import Service

    secrets = Secrets()
    start_logging(False, secrets)
    service = Service(Path(file), secrets=secrets)
    server = service.described.file.server
    api = ApiServer(service, server) if server.enabled else None
    log.info("%s: %s", file, service.start())
    following = Following(lambda: service.described.files, service.ask_reload)
    loop = threading.Thread(target=service.run, name="service", daemon=True)
    loop.start()
    try:
        serve_wall(service, listener, hosts=hosts, accounts=accounts, tls=tls, under=under, say=say)
    finally:
        following.close()
        service.close(CLOSE_S)
        loop.join(CLOSE_S)
        if api is not None:
            api.close(0.5)


def serve_wall(
    service: Any, listener: socket.socket, *, hosts: Hosts | None = None, accounts: Accounts | None = None,
    tls: tuple[str | None, str | None] = (None, None), under: str = "", say: Callable[[str], None] = print,
) -> None:
    """Serve the page of a service that runs, at a bound socket, until Ctrl-C."""
    import uvicorn

    from demo.connections import Crowd, http_protocol
    from demo.wall.app import Wall, create_wall_app
    from demo.wall.guard import session_key
    from stream.events.schema import data_dir

    wall = Wall(service, accounts)
    hosts = hosts or hosts_of(listener.getsockname()[0])
    app = create_wall_app(wall, session_key(data_dir()), hosts, https=bool(tls[0]), under=under)
    crowd = Crowd(200, wall.has_page)
    config = uvicorn.Config(
        app, http=http_protocol(crowd), log_config=None, access_log=False, ws_max_size=64 * 1024,
        ws_per_message_deflate=False, timeout_graceful_shutdown=2, ssl_certfile=tls[0], ssl_keyfile=tls[1],
        server_header=False, lifespan="off",
    )
    host, port = listener.getsockname()[:2]
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    say(f"open http{'s' if tls[0] else ''}://{shown}:{port}{under}{'/' if under else ''}   (Ctrl-C ends)")
    if accounts is None:
        say("no accounts: whoever uses this machine sees and changes everything")
    elif not tls[0]:
        say("passwords go over http:// in the clear; use --tls-cert, or a proxy that serves https")
    server = uvicorn.Server(config)
    started_s = time.monotonic()
    with ends_at_sigterm():
        server.run(sockets=[listener])
    log.info("the page was served for %.0f s", time.monotonic() - started_s)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
