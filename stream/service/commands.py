"""What `python -m stream.serve` does: example, schema, check, status, and serving itself."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from stream.service.reading import read_cameras

log = logging.getLogger(__name__)
EXAMPLE = Path(__file__).with_name("example.yaml")
# All is closed within this after a signal; what has not ended by then is left behind.
CLOSE_S = 1.2


def print_example() -> int:
    """A commented file to start from."""
    sys.stdout.write(EXAMPLE.read_text(encoding="utf-8"))
    return 0


def print_schema() -> int:
    """The file's JSON Schema."""
    print(json.dumps(file_schema(), indent=2))
    return 0


def file_schema() -> dict:
    """JSON Schema of the cameras' file as it is written: `source` may stand under the defaults."""
    from stream.events.rules import RuleSet
    from stream.service.rule_reading import Events
    from stream.service.settings import Camera, File

    schema = File.model_json_schema()
    defaults = Camera.model_json_schema()
    schema["$defs"] |= defaults.pop("$defs", {})
    defaults.pop("required", None)
    schema["properties"]["defaults"] = defaults
    schema["$defs"]["Camera"].pop("required", None)
    rules, events = RuleSet.model_json_schema(), Events.model_json_schema()
    for part in (rules, events):
        schema["$defs"] |= part.pop("$defs", {})
    for key in ("zones", "lines", "rules"):
        for place in (defaults, schema["$defs"]["Camera"]):
            place["properties"][key] |= rules["properties"][key]
    schema["properties"]["events"] |= {"anyOf": [events, {"type": "null"}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def check(file: str) -> int:
    """Check the file and try every camera; 0 where all is well."""
    from stream.service.checking import TRY_S, try_cameras
    from stream.service.names import check_names
    from stream.service.running import open_watched

    described = read_cameras(file)
    check_names(described)
    print(f"{file}: {len(described.file.cameras)} cameras, no mistake found; trying each for {TRY_S:g} s", flush=True)
    tries = try_cameras(described, open_watched)
    for tried in tries:
        print(tried.line(TRY_S), flush=True)
    code = 0 if all(tried.pictures for tried in tries) else 2
    # Threads that hang in a camera that does not answer must not keep the command.
    sys.stdout.flush()
    os._exit(code) if any(t.name.startswith("check ") for t in threading.enumerate()) else None
    return code


def status(file: str, once: bool) -> int:
    """Show the table of the service that runs this file."""
    from stream.service.status import show

    server = read_cameras(file).file.server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)
    show(f"http://{host}:{server.port}", server.token.get_secret_value() if server.token else None, once)
    return 0


def serve(file: str, *, as_json: bool = False, seconds: float | None = None) -> int:
    """Run the service until a signal."""
    from stream.service.api import ApiServer
    from stream.service.following import Following
    from stream.service.logs import Secrets, start_logging
    from stream.service.running import Service

    secrets = Secrets()
    start_logging(as_json, secrets)
    service = Service(file, secrets=secrets)
    server = service.described.file.server
    api = ApiServer(service, server) if server.enabled else None
    _on_signals(service.stop, service.ask_reload)
    following = Following(lambda: service.described.files, service.ask_reload)
    log.info("%s: %s", file, service.start())
    if api is not None:
        log.info("state, metrics and pictures: %s/docs", api.url)
    tell_system, end_s = _system_notifier(), time.monotonic() + (seconds or float("inf"))
    tell_system("READY=1")

    def turn() -> None:
        tell_system("WATCHDOG=1")
        if time.monotonic() >= end_s:
            service.stop()

    service.run(turn)
    tell_system("STOPPING=1")
    log.info("stopping")
    # Threads may hang in a camera that is silent, or in a network that is being built. The process ends all the same:
    # Python must not be torn down beneath a library that is still at work.
    last_resort = threading.Timer(CLOSE_S + 0.5, os._exit, (0,))
    last_resort.daemon = True
    last_resort.start()
    following.close()
    ended = service.close(CLOSE_S)
    ended = (api is None or api.close(0.3)) and ended
    log.info("ended" if ended else "ended; some threads still hung in a camera or a network")
    if not ended:
        logging.shutdown()
        os._exit(0)
    last_resort.cancel()
    return 0


def _on_signals(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    def ended(number: int, frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGINT, ended)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, frame: reload())


def _system_notifier() -> Callable[[str], None]:
    """Tells systemd, where that started the service."""
    if "NOTIFY_SOCKET" not in os.environ:
        return lambda state: None
    from sdnotify import SystemdNotifier

    return SystemdNotifier().notify
