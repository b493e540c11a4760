"""A service on quick fakes with its page on top: `python tests/wall_fakes.py FOLDER`, for browser tests.

Cameras are rendered files; the model is `demo_fakes`'. `yard` is an address where nobody answers.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo_fakes import fake_session, write_video

from demo.__main__ import listen, say
from demo.hosts import hosts_of
from demo.wall.accounts import Accounts
from demo.wall.command import serve_wall
from stream.service.following import Following
from stream.service.running import Service
from stream.service.sharing import Sharing

YAML = """\
# Cameras of a test.
defaults: {{every: 0.2, motion: {{gate: false}}}}
server: {{enabled: false}}
events:
  store: {{url: "sqlite:///{folder}/e.db"}}
  films: {{folder: "{folder}/films", before: 1s, after: 1s}}
cameras:
  door:   # the front one
    source: {folder}/walk.mp4
    rules:
      - {{name: walks, kind: action, action: walk, for: 0s}}
  hall: {{source: {folder}/walk.mp4}}
  yard: {{source: "rtsp://admin:hunter2@127.0.0.1:9/yard"}}
"""
# Walks for two seconds, sits for two: the film is played for ever.
PLACES = [0.3] * 30 + [0.7] * 30


def fake_service(folder: Path, text: str = YAML) -> Service:
    """A service that is not started, of a file in a folder."""
    if not (folder / "walk.mp4").exists():
        write_video(folder / "walk.mp4", PLACES)
    file = folder / "cameras.yaml"
    if not file.exists():
        file.write_text(text.format(folder=folder), encoding="utf-8")
    return Service(
        file, environ={}, check=lambda described: None,
        create_sharing=lambda meter: Sharing(open_model=lambda *_: fake_session(), meter=meter, on_gpu=False),
    )


def main() -> None:
    """Serve."""
    cli = argparse.ArgumentParser()
    cli.add_argument("folder", type=Path)
    cli.add_argument("--port", type=int, default=0)
    cli.add_argument("--cameras", type=int, default=0, help="so many, instead of the usual ones")
    cli.add_argument("--accounts")
    cli.add_argument("--root-path", default="")
    args = cli.parse_args()
    text = YAML
    if args.cameras:
        text = YAML.split("cameras:")[0] + "cameras:\n" + "".join(
            f"  c{i:02}: {{{{source: {{folder}}/walk.mp4}}}}\n" for i in range(args.cameras)
        )
    service = fake_service(args.folder, text)
    service.start()
    following = Following(lambda: service.described.files, service.ask_reload)
    loop = threading.Thread(target=service.run, daemon=True)
    loop.start()
    listener = listen("127.0.0.1", args.port)
    try:
        accounts = Accounts(args.accounts) if args.accounts else None
        serve_wall(service, listener, hosts=hosts_of("127.0.0.1"), accounts=accounts, under=args.root_path, say=say)
    finally:
        following.close()
        service.close(3.0)


if __name__ == "__main__":
    main()
