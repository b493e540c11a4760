"""The command: `python -m demo` prints a link and serves the page until Ctrl-C."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demo.ending import ends_at_sigterm
from demo.hosts import Hosts, hosts_of
from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from engine_build.memory import give_large_blocks_back_at_once
from stream.session_options import add_session_options, check_session_options

if TYPE_CHECKING:
    from demo.server import Backend
    from detector.weights.records import ActionModel

# Beside those of open pages.
CONNECTIONS_PER_ADDRESS = 100
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EPILOG = """\
examples:
  %(prog)s
      http://127.0.0.1:7860, for this machine alone
  %(prog)s --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
      for phones and others on your network
  %(prog)s --host-name demo.example
      behind a proxy that serves it as https://demo.example
  %(prog)s --allow-urls
      lets visitors type camera addresses
  %(prog)s --cameras cameras.yaml
      runs the service of that file, with a page of all its cameras
Browsers give a camera only to pages at https:// or localhost."""


def parser(prog: str = "python -m demo") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog, description="Who does what, in a browser: your webcam, your video, your cameras.", epilog=EPILOG,
        usage="%(prog)s [options]",
    )
    server = cli.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", metavar="A", help="address to listen at (127.0.0.1)")
    server.add_argument("--port", type=int, default=7860, metavar="N", help="port (7860); 0 takes a free one")
    server.add_argument("--tls-cert", metavar="FILE", help="certificate: serve https")
    server.add_argument("--tls-key", metavar="FILE", help="its key")
    server.add_argument("--host-name", nargs="+", action="extend", default=[], metavar="NAME",
                        help="further names under which the page is opened, as behind a proxy: demo.example")
    server.add_argument("--allow-urls", action="store_true",
                        help="let visitors make this machine open camera addresses that they type")
    wall = cli.add_argument_group("all cameras")
    wall.add_argument("--cameras", metavar="FILE", help="run the service of this file and show all its cameras")
    wall.add_argument("--accounts", metavar="FILE",
                      help="who may log in; made by python -m demo.wall.accounts, needed beyond this machine")
    wall.add_argument("--root-path", default="", metavar="PATH", help="where a proxy serves the page: /cameras")
    limits = cli.add_argument_group("limits")
    limits.add_argument("--visitors", type=int, default=4, metavar="N", help="live streams at once (4)")
    limits.add_argument("--max-upload-mb", type=float, default=200, metavar="N", help="size of a video (200)")
    limits.add_argument("--max-minutes", type=float, default=10, metavar="N", help="length of a video (10)")
    who = cli.add_argument_group("who looks")
    add_session_options(who, many_models=True)
    return cli


def main(argv: list[str] | None = None, prog: str = "python -m demo") -> int:
    """Run the command."""
    args = parser(prog).parse_args(argv)
    _check(args)
    import cv2

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if args.cameras:
        return _run_wall(args)
    listener = listen(args.host, args.port)
    try:
        hosts = hosts_of(listener.getsockname()[0], args.host_name)
        offered = find_models(args.model, args.untrained)
        backend, records, notice = _build(args, offered)
    except BaseException:
        listener.close()
        raise
    serve(backend, records, listener, notice=notice, tls=(args.tls_cert, args.tls_key), hosts=hosts)
    return 0


def _run_wall(args: argparse.Namespace) -> int:
    from demo.wall.command import check_wall, run_wall

    accounts = check_wall(args.host, args.host_name, args.accounts, args.root_path)
    listener = listen(args.host, args.port)
    try:
        hosts = hosts_of(listener.getsockname()[0], args.host_name)
        run_wall(
            args.cameras, listener, hosts=hosts, accounts=accounts, tls=(args.tls_cert, args.tls_key),
            under=args.root_path, say=say,
        )
    finally:
        listener.close()
    return 0


def _check(args: argparse.Namespace) -> None:
    for name, low in (("visitors", 1), ("max_upload_mb", 0.001), ("max_minutes", 0.01)):
        value = getattr(args, name)
        if not value >= low:
            raise UserError(f"--{name.replace('_', '-')}: got {value:g}, expected at least {low:g}")
    check_session_options(args)
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UserError("--tls-cert and --tls-key: got one of them, expected both")
    for path in (args.tls_cert, args.tls_key):
        if path and not os.path.isfile(path):
            raise UserError(f"{path}: no such file, expected a PEM file")
    if args.cameras:
        return
    if args.accounts or args.root_path:
        raise UserError("--accounts and --root-path: got without --cameras, expected with it")
    missing = [name for name in ("gradio", "plotly", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the demo needs {', '.join(missing)}; run: pip install 'slowfast-live[demo]'")


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to that address.

    Raises:
        UserError: in use, not ours, or not an address.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port: got {port}, expected 0 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); {_advice(error, port)}"
        ) from None
    return listener


def _advice(error: OSError, port: int) -> str:
    """What to try where this machine does not listen."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "expected an address of this machine: --host 127.0.0.1 (for it alone) or --host 0.0.0.0 (the network)"
    if error.errno == errno.EACCES:
        return "ports below 1024 are the administrator's; try --port 7860"
    return f"try --port {port + 1 if port < 65535 else 7860}"


def find_models(wanted: list[str] | None, untrained: bool) -> dict[str, tuple[str, ActionModel]]:
    """Models to offer: by the record's name, what to open and the record; the first is the default.

    Without names: the best one here, then every other action detector whose weights are on this machine.

    Raises:
        UserError: an unknown one, or none here.
    """
    from detector.weights.cache import cached_path
    from detector.weights.choose import bundled_path, resolve_action_model
    from detector.weights.zoo import action_models

    specs = list(wanted or ["auto"])
    if not wanted:
        specs += [
            name for name, record in action_models().items()
            if record.network.head == "detection" and record.weights and cached_path(record.weights)
        ]
        specs += ["bundled"] if bundled_path() else []
    found: dict[str, tuple[str, ActionModel]] = {}
    for spec in specs:
        record, _ = resolve_action_model(spec, allow_untrained=untrained)
        if record.network.head != "detection":
            raise UserError(f"model {spec}: classifies whole clips, expected one that detects people's actions")
        found.setdefault(record.name, (spec, record))
    return found


def _build(
    args: argparse.Namespace, offered: Mapping[str, tuple[str, ActionModel]]
) -> tuple[Backend, dict[str, ActionModel], str]:
    """Open the first model, so that what is wrong shows before the link does."""
    from demo.choices import Choices
    from demo.pool import ModelPool
    from demo.server import Backend, Limits
    from stream.session import Session, open_session
    from stream.sources import open_source

    def open_model(name: str) -> Session:
        return open_session(
            offered[name][0], args.detector, engine=args.engine, precision=args.precision, device=args.device,
            untrained=args.untrained, report=say,
        )

    pool = ModelPool(tuple(offered), open_model)
    with pool.lease(next(iter(offered))) as lease:
        session = lease.session
        for line in session.notices:
            say(line)
        person = default_person_threshold(session) if args.person_threshold is None else args.person_threshold
        # Engines take a while to build; most webcams have this shape.
        session.prepare((480, 640)).add_done_callback(
            lambda f: say(f"error: {f.exception()}" if not f.cancelled() and f.exception() else "ready")
        )
    backend = Backend(
        pool, Limits(args.visitors, int(args.max_upload_mb * 1e6), args.max_minutes * 60),
        Choices(person_threshold=person), open_source if args.allow_urls else None,
    )
    notice = "No trained weights on this machine: the action scores shown are random and mean nothing. " \
        "The terminal says how to get some." if session.untrained else ""
    return backend, {name: record for name, (_, record) in offered.items()}, notice


def default_person_threshold(session: Any) -> float:
    """The threshold that the session's person detector was calibrated for; 0.8, Faster R-CNN's, where unknown."""
    from detector.weights.zoo import DETECTOR_MODELS

    told = " ".join([session.detector_name, *session.notices])
    names = sorted((name for name in DETECTOR_MODELS if name in told), key=len)
    return DETECTOR_MODELS[names[-1]].threshold if names else 0.8


def serve(
    backend: Backend, records: Mapping[str, ActionModel], listener: socket.socket, *, notice: str = "",
    tls: tuple[str | None, str | None] = (None, None), hosts: Hosts | None = None,
) -> None:
    """Serve the page at a bound socket until Ctrl-C; closes the backend.

    Args:
        backend: the server's.
        records: models on offer.
        listener: of `listen`.
        notice: a line for the top of the page.
        tls: certificate and key files.
        hosts: names under which the page is reached; by default those of where the socket is bound.
    """
    # Read when Gradio is imported: no calls home, no check for updates.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Should Gradio ever write a file, it goes when the server ends.
    os.environ["GRADIO_TEMP_DIR"] = str(backend.shelf.root / "gradio")
    import uvicorn

    from demo.connections import Crowd, http_protocol
    from demo.page import build_page, page_options
    from demo.server import create_app
    from demo.tab import MAX_PICTURE_BYTES

    hosts = hosts or hosts_of(listener.getsockname()[0])
    app = create_app(backend, lambda b: build_page(b, records, notice), page_options(), hosts)
    crowd = Crowd(max(CONNECTIONS_PER_ADDRESS, 25 * backend.limits.visitors), backend.tabs.has_page)
    logging.getLogger("uvicorn.error").addFilter(_without_traces_of_nonsense)
    config = uvicorn.Config(
        app, http=http_protocol(crowd), log_level="warning", access_log=False, ws_max_size=MAX_PICTURE_BYTES + 1024,
        ws_per_message_deflate=False, timeout_graceful_shutdown=3, ssl_certfile=tls[0], ssl_keyfile=tls[1],
        server_header=False,
    )
    server = uvicorn.Server(config)
    say(f"open {link(listener, bool(tls[0]))}   (Ctrl-C ends)")
    if listener.getsockname()[0] not in LOOPBACK:
        say("listening to the network: anyone who reaches this port can use the demo")
        if not tls[0]:
            say("phones and other machines get no camera over http://; use --tls-cert or an https proxy")
    try:
        with ends_at_sigterm():
            server.run(sockets=[listener])
    finally:
        backend.close()


def _without_traces_of_nonsense(record: logging.LogRecord) -> bool:
    """One line in the log, not a traceback, for text on a page's line that is not UTF-8."""
    if record.exc_info and isinstance(record.exc_info[1], UnicodeError):
        record.exc_info = None
    return True


def link(listener: socket.socket, https: bool) -> str:
    """The address to open."""
    host, port = listener.getsockname()[:2]
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http{'s' if https else ''}://{shown}:{port}"


def say(line: str) -> None:
    """A line for whoever started the server."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
