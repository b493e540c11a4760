"""The line between one open page and the server: a WebSocket that carries pictures both ways.

From the page: text `{"do": "start", "choices": {...}}`, `watch` (with `url`), `sample` (the bundled clip), `choose`,
`stop`, `shown`; and pictures as 8 bytes (little-endian float64, seconds) followed by a JPEG. To the page: pictures with
4 bytes more (little-endian uint32) that say how long the JSON of the people in it is, that JSON, then the JPEG; and
text with an `event`: `hello`, `started`, `got` (one picture taken in), `status`, `ended`, `error`.

Both sides wait for the other (`got`, `shown`) before they send more, so that pictures never queue up in the network.

Why not WebRTC: with an echo in place of the analysis, 640x480 at 30 fps in a headless Chromium on the same two cores,
JPEG over a WebSocket took 24 ms from camera to page at 29.7 pictures/s, aiortc (VP8) 71 ms at 29.5, Gradio's own
streaming 254 ms at 5.6; server time was the same for the first two (0.22 cores). A WebSocket also goes through any
https proxy or ssh tunnel, needs no STUN or TURN server and no further package. It costs bandwidth, 8 to 18 Mbit/s
each way where the line gives that; on thin lines both sides turn to thinner pictures. `demo.measure` measures what is
built.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import numpy as np

from demo.choices import Choices, read_choices, shown_value
from demo.pool import Busy, ModelPool, Seats
from demo.side_by_side import until_one_ends
from demo.viewing import Viewing, decode_jpeg
from detector.errors import UserError
from stream.sources import PushSource, Source, open_source

log = logging.getLogger(__name__)

HEADER, HEADER_BACK = struct.Struct("<d"), struct.Struct("<dI")
MAX_PICTURE_BYTES = 4_000_000
STATUS_EVERY_S = 0.5
URL_SCHEMES = ("rtsp", "rtsps", "http", "https")


class Socket(Protocol):
    """The part of a WebSocket that is used here; tests bring their own."""

    async def receive(self) -> MutableMapping[str, Any]:
        """The next ASGI message: `websocket.receive` with `text` or `bytes`, or `websocket.disconnect`."""
        ...

    async def send_text(self, data: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...


class Tab:
    """One page's line: at most one viewing at a time."""

    def __init__(
        self, socket: Socket, pool: ModelPool, seats: Seats, default: Choices, *,
        open_url: Callable[[str], Source] | None = None, idle_s: float = 60.0,
        has_work: Callable[[], bool] = lambda: False, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            socket: accepted.
            pool: models.
            seats: how many may watch at once.
            default: choices where the page sends none.
            open_url: opens a camera by its address; None where visitors may not.
            idle_s: a page that sent no picture for so long gives its seat to others.
            has_work: whether a video of this page is being analysed, or is there: a page that was reloaded asks.
            clock: seconds, monotonic.
        """
        self._socket, self._pool, self._seats, self._default = socket, pool, seats, default
        self._open_url, self._idle_s, self._clock, self._has_work = open_url, idle_s, clock, has_work
        self._viewing: Viewing | None = None
        self._push: PushSource | None = None
        self._give_back: Callable[[], None] = lambda: None
        self._last_picture_s = 0.0
        self._ready, self._changing = asyncio.Event(), asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Serve the page until it leaves; frees all that it used."""
        await self._send("hello", urls=self._open_url is not None, models=list(self._pool.names),
                         work=self._has_work())
        try:
            await until_one_ends((self._read, self._write, self._tell))
        finally:
            await self._stop()

    async def _read(self) -> None:
        commands: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "start": self._start, "watch": self._watch, "sample": self._sample, "choose": self._choose,
            "stop": self._on_stop, "shown": self._on_shown,
        }
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                data = message.get("bytes")
                if data is not None:
                    await self._take_in(data)
                    continue
                command = _parse(message.get("text") or "")
                name = command.get("do")
                if not isinstance(name, str) or name not in commands:
                    raise UserError(f"command {shown_value(name)}: expected one of {', '.join(commands)}")
                await commands[name](command)
            except UserError as error:
                await self._send("error", message=str(error), busy=isinstance(error, Busy))

    async def _take_in(self, data: bytes) -> None:
        """Decode a picture and hand it to the pipeline; others wait meanwhile, so a page cannot flood the server."""
        push = self._push
        try:
            if push is None:
                return
            if not HEADER.size < len(data) <= MAX_PICTURE_BYTES:
                raise UserError(f"picture: got {len(data)} bytes, expected a time and a JPEG below {MAX_PICTURE_BYTES}")
            (time_s,) = HEADER.unpack_from(data)
            if not np.isfinite(time_s) or not 0 <= time_s < 1e9:
                raise UserError("picture: its time is not a number of seconds")
            image = await asyncio.to_thread(decode_jpeg, data[HEADER.size:])
            self._last_picture_s = self._clock()
            push.push(image, time_s)
        finally:
            await self._send("got")

    async def _start(self, command: dict[str, Any]) -> None:
        choices = self._read_choices(command)
        push: Any = PushSource("your camera")
        await self._begin(choices, lambda: push)

    async def _watch(self, command: dict[str, Any]) -> None:
        open_url, given = self._open_url, command.get("url")
        url = given.strip() if isinstance(given, str) else ""
        if open_url is None:
            raise UserError("cameras by address are off here; the server has to be started with --allow-urls")
        scheme = url.partition("://")[0].lower()
        # Line breaks, zero bytes and halves of characters are no part of an address and break what opens it.
        if "://" not in url or scheme not in URL_SCHEMES or len(url) > 2000 or not url.isprintable():
            raise UserError("camera address: expected rtsp://… or http(s)://…")
        choices = self._read_choices(command)
        await self._begin(choices, lambda: open_url(url))

    async def _sample(self, command: dict[str, Any]) -> None:
        choices = self._read_choices(command)
        await self._begin(choices, lambda: open_source("sample", live=True, loop=True))

    async def _begin(self, choices: Choices, open_source: Callable[[], Source]) -> None:
        async with self._changing:
            await self._end()
            await self._begin_free(choices, open_source)
        viewing = self._viewing
        if viewing is not None:
            await self._send("started", model=choices.model, display=choices.display, styles=viewing.styles)

    async def _begin_free(self, choices: Choices, open_source: Callable[[], Source]) -> None:
        self._give_back = self._seats.take()
        try:
            # Both may take seconds: weights are read, a camera answers.
            lease = await self._in_thread(lambda: self._pool.lease(choices.model), lambda late: late.release())
            try:
                source = await self._in_thread(open_source, lambda late: late.close())
            except BaseException:
                lease.release()
                raise
            self._push = source if isinstance(source, PushSource) else None
            self._viewing = Viewing(source, lease, choices, wake=self._wake)
        except BaseException:
            self._give_back()
            self._push = None
            raise
        self._last_picture_s = self._clock()

    async def _in_thread(self, work: Callable[[], Any], free: Callable[[Any], Any]) -> Any:
        """Run `work` in a thread; where the page leaves meanwhile, its result is freed once it is there."""
        future = self._loop.run_in_executor(None, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda f: None if f.cancelled() or f.exception() else free(f.result()))
            raise

    async def _choose(self, command: dict[str, Any]) -> None:
        choices = self._read_choices(command)
        if self._viewing is not None:
            self._viewing.choose(choices)

    async def _on_stop(self, command: dict[str, Any]) -> None:
        await self._stop()
        await self._send("ended", reason="")

    async def _on_shown(self, command: dict[str, Any]) -> None:
        if self._viewing is not None:
            self._viewing.shown()
            self._ready.set()

    async def _stop(self, only: Viewing | None = None) -> None:
        """End what is being watched; with `only`, nothing else than that."""
        async with self._changing:
            if only is None or only is self._viewing:
                await self._end()

    async def _end(self) -> None:
        viewing, self._viewing, self._push = self._viewing, None, None
        give_back, self._give_back = self._give_back, lambda: None
        try:
            if viewing is not None and not await asyncio.shield(asyncio.to_thread(viewing.close)):
                log.warning("a viewing did not end in time")
        finally:
            give_back()

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            viewing = self._viewing
            if viewing is None:
                continue
            picture = viewing.take()
            if picture is not None:
                people = json.dumps(picture.people, separators=(",", ":")).encode()
                await self._socket.send_bytes(HEADER_BACK.pack(picture.time_s, len(people)) + people + picture.jpeg)
            if viewing.ended and viewing is self._viewing:
                reason = viewing.error or "the stream has ended"
                await self._stop(viewing)
                await self._send("ended", reason=reason)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(STATUS_EVERY_S)
            viewing = self._viewing
            if viewing is None:
                continue
            await self._send("status", visitors=self._seats.taken, seats=self._seats.limit, **viewing.status())
            if self._push is not None and self._clock() - self._last_picture_s > self._idle_s:
                await self._stop(viewing)
                await self._send("ended", reason="no pictures came for a while, so the place was given to others")

    def _wake(self) -> None:
        # The loop may be gone when the server stops while a viewing ends.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ready.set)

    def _read_choices(self, command: dict[str, Any]) -> Choices:
        given = command.get("choices")
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise UserError("choices: expected an object")
        return read_choices(given, self._pool.names, self._default)

    async def _send(self, event: str, **content: Any) -> None:
        await self._socket.send_text(json.dumps({"event": event, **content}))


def _parse(text: str) -> dict[str, Any]:
    if len(text) > 20_000:
        raise UserError("command: too long")
    try:
        command = json.loads(text)
    except (ValueError, RecursionError):
        command = None
    if not isinstance(command, dict):
        raise UserError("command: expected a JSON object")
    return command
