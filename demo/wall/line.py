"""The line of a wall: a WebSocket that carries tiles to a page, at the pace at which the page shows them.

From the page: text `{"want": {camera: [width in px, pictures a second]}}`, what is visible now; `{"shown": 1}` for each
picture. To the page: text `{"state": […], "styles": {…}}` once a second; and pictures as 4 bytes (little-endian
uint32), so many bytes of JSON (`camera`, `time_s`, `people`), then a JPEG.

No picture is made that nobody looks at, and none is sent before the page has shown those before it.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from typing import Any

from demo.side_by_side import until_one_ends
from demo.tab import Socket
from demo.wall.tiles import Tiles, styles_for, width_for
from demo.wall.words import state_of
from detector.errors import UserError
from stream.service.running import Service

HEADER = struct.Struct("<I")
STATE_EVERY_S = 1.0
MOST_FPS, MOST_WANTED, MOST_TEXT = 25.0, 64, 20_000
# Pictures on their way to a page: a line that takes longer gets fewer.
MOST_UNSHOWN = 6


class WallLine:
    """One page's line."""

    def __init__(
        self, socket: Socket, service: Service, tiles: Tiles, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            socket: accepted.
            service: whose cameras.
            tiles: shared by all lines.
            clock: seconds, monotonic.
        """
        self._socket, self._service, self._tiles, self._clock = socket, service, tiles, clock
        self._wanted: dict[str, tuple[int, float]] = {}
        self._due_s: dict[str, float] = {}
        self._marks: dict[str, object] = {}
        self._unshown, self._changed = 0, asyncio.Event()

    async def run(self) -> None:
        """Serve the page until it leaves."""
        await until_one_ends((self._read, self._tell, self._send))

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self.hear(message.get("text") or "")

    def hear(self, text: str) -> None:
        """Take what the page says; nonsense is left out."""
        try:
            said = json.loads(text) if len(text) <= MOST_TEXT else None
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        if said.get("shown") == 1:
            self._unshown = max(self._unshown - 1, 0)
        if isinstance(said.get("want"), dict):
            self._wanted = _read_wanted(said["want"], set(self._service.supervisor.names()))
            self._due_s = {name: self._due_s.get(name, 0.0) for name in self._wanted}
            self._marks = {name: mark for name, mark in self._marks.items() if name in self._wanted}
        self._changed.set()

    async def _tell(self) -> None:
        while True:
            await self._socket.send_text(json.dumps(self.state()))
            await asyncio.sleep(STATE_EVERY_S)

    def state(self) -> dict[str, Any]:
        """How all cameras are."""
        cameras = self._service.snapshot().cameras
        running = {camera.name: camera for camera in self._service.supervisor.cameras()}
        return {
            "state": [state_of(camera) for camera in cameras],
            "styles": {name: styles_for(running[name]) for name in self._wanted if name in running},
        }

    async def _send(self) -> None:
        while True:
            now_s = self._clock()
            name = next((n for n in sorted(self._due_s, key=self._due_s.__getitem__) if self._due_s[n] <= now_s), None)
            if name is None or self._unshown >= MOST_UNSHOWN:
                self._changed.clear()
                next_s = min(self._due_s.values(), default=now_s + 1.0) - now_s
                wait_s = 1.0 if self._unshown >= MOST_UNSHOWN else min(max(next_s, 0.001), 1.0)
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                continue
            width, fps = self._wanted[name]
            # Those that are late do not catch up in a burst.
            self._due_s[name] = max(self._due_s[name] + 1 / fps, now_s + 0.5 / fps)
            await self._send_one(name, width)

    async def _send_one(self, name: str, width: int) -> None:
        try:
            camera = self._service.supervisor.camera(name)
        except UserError:  # it was removed
            self._wanted.pop(name, None)
            self._due_s.pop(name, None)
            return
        if camera is None:
            return
        tile = await asyncio.to_thread(self._tiles.picture, camera, width, self._marks.get(name))
        if tile is None or name not in self._wanted:
            return
        self._marks[name] = tile.mark
        about = json.dumps({"camera": name}).encode()[:-1] + b"," + tile.about[1:]
        self._unshown += 1
        await self._socket.send_bytes(HEADER.pack(len(about)) + about + tile.jpeg)


def _read_wanted(given: dict[str, Any], known: set[str]) -> dict[str, tuple[int, float]]:
    wanted = {}
    for name, value in list(given.items())[:MOST_WANTED]:
        numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)
        if name in known and numbers and 0 < value[0] < 1e5 and 0 < value[1] < 1e3:
            wanted[name] = (width_for(value[0]), min(float(value[1]), MOST_FPS))
    return wanted
