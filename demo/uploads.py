"""Uploads on their way in: who may send one, how many at once, how slowly, and what it must be."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import unquote

from fastapi import Request

from demo.gate import TOKEN, visitor_of
from demo.jobs import VideoInfo, inspect_video
from demo.pool import Busy
from demo.shelf import HEAD_BYTES, Folder, check_container, clean_name
from demo.tabs import address_of
from detector.errors import UserError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from demo.shelf import Shelf
    from demo.tabs import Tabs


class Backend(Protocol):
    """What is asked of `demo.server.Backend`."""

    @property
    def limits(self) -> Any: ...
    @property
    def tabs(self) -> Tabs: ...
    @property
    def shelf(self) -> Shelf: ...
    @property
    def uploads(self) -> Uploads: ...
    @property
    def inspector(self) -> ThreadPoolExecutor: ...


class Stalled(UserError):
    """An upload that does not get on; the text says so."""


@dataclass(frozen=True)
class Pace:
    """How slow an upload may be.

    Attributes:
        silence_s: without a byte.
        window_s, window_bytes: less than so much in so long is as good as nothing.
        clock: seconds, monotonic.
    """

    silence_s: float = 15.0
    window_s: float = 20.0
    window_bytes: int = 200_000
    clock: Callable[[], float] = time.monotonic


@dataclass(eq=False)
class Uploads:
    """Who is sending one now.

    Attributes:
        most: of all visitors at once.
        most_per_address: so that no one address takes all places.
        pace: of each.
    """

    most: int = 8
    most_per_address: int = 3
    pace: Pace = field(default_factory=Pace)
    _under_way: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def place(self, visitor: str, address: str) -> Iterator[None]:
        """Hold a place while sending.

        Raises:
            Busy: one of this visitor is under way, or too many are.
        """
        if visitor in self._under_way:
            raise Busy("another upload of yours is under way; wait for it to end")
        others = list(self._under_way.values())
        if len(others) >= self.most or others.count(address) >= self.most_per_address:
            raise Busy(f"{len(others)} uploads are under way, which is all that fits now; please try again in a minute")
        self._under_way[visitor] = address
        try:
            yield
        finally:
            del self._under_way[visitor]

    def __len__(self) -> int:
        return len(self._under_way)


async def take_upload(backend: Backend, request: Request) -> tuple[Folder, VideoInfo]:
    """Write an upload to a folder of its visitor, checking size and kind as it comes.

    Raises:
        UserError: its page is not open, too large, not a video, nothing there.
        Stalled: it does not get on.
        Busy: another upload of this visitor is under way, or too many are.
    """
    visitor, tab = visitor_of(request.scope), request.headers.get("x-tab", "")
    if not visitor or not TOKEN.fullmatch(tab):
        raise UserError("upload: reload the page first (no cookie came with it)")
    if not backend.tabs.is_open(tab, visitor):
        raise UserError("upload: its page is not open (or has no connection to the server); reload the page first")
    name = clean_name(unquote(request.headers.get("x-file-name", "")))
    limit = backend.limits.upload_bytes
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > limit:
        raise too_large(name, int(length), limit)
    address = address_of(request.scope.get("client"))
    with backend.uploads.place(visitor, address), _Arrival(backend, visitor, tab, name, address) as arrival:
        await arrival.receive(request)
        # One at a time: what a stranger's film takes to be opened must not be taken many times at once.
        loop = asyncio.get_running_loop()
        info = await loop.run_in_executor(
            backend.inspector, inspect_video, arrival.path, name, backend.limits.video_s
        )
        arrival.check_page()
        return arrival.keep(), info


class _Arrival:
    """A file being received; what was written goes again unless it is kept."""

    def __init__(self, backend: Backend, visitor: str, tab: str, name: str, address: str) -> None:
        self._backend, self._visitor, self._tab = backend, visitor, tab
        self._name, self._address = name, address
        self._folder: Folder | None = None
        self._file: BinaryIO | None = None
        self.path = Path()

    def __enter__(self) -> _Arrival:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            self._backend.shelf.remove(self._folder)

    def keep(self) -> Folder:
        """The folder, which stays."""
        assert self._folder is not None
        folder, self._folder = self._folder, None
        return folder

    def check_page(self) -> None:
        """
        Raises:
            UserError: the page is not there any more.
        """
        if not self._backend.tabs.is_open(self._tab, self._visitor):
            raise UserError("upload: its page was closed")

    async def receive(self, request: Request) -> None:
        """Write the body down."""
        limit, pace = self._backend.limits.upload_bytes, self._backend.uploads.pace
        stream = aiter(request.stream())
        head, taken = b"", 0
        since_s, since_bytes = pace.clock(), 0
        while True:
            try:
                async with asyncio.timeout(pace.silence_s):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise Stalled(f"{self._name}: nothing came for {pace.silence_s:g} s; please try again") from None
            if chunk is None:
                break
            taken += len(chunk)
            if taken > limit:
                raise too_large(self._name, taken, limit)
            if pace.clock() - since_s >= pace.window_s:
                # The last bytes of a file are few.
                if taken - since_bytes < pace.window_bytes:
                    raise Stalled(f"{self._name}: comes too slowly to be waited for; please try a better connection")
                since_s, since_bytes = pace.clock(), taken
            self.check_page()
            if self._file is not None:
                # Written in the loop: chunks are 64 KiB and the page cache takes them at once.
                self._file.write(chunk)
                continue
            head += chunk
            if len(head) >= HEAD_BYTES:
                self._begin(head)
        if self._file is None:
            if not head:
                raise UserError(f"{self._name}: is empty (0 bytes), expected a video")
            self._begin(head)
        assert self._file is not None
        self._file.close()

    def _begin(self, head: bytes) -> None:
        suffix = check_container(head[:HEAD_BYTES], self._name)
        self._folder = self._backend.shelf.create(self._visitor, self._tab, self._name, self._address)
        self.path = self._folder.path / f"upload{suffix}"
        self._file = self.path.open("wb")
        self._file.write(head)


def too_large(name: str, size_bytes: int, limit_bytes: int) -> UserError:
    """The error of an upload over the limit."""
    return UserError(
        f"{name}: {size_bytes / 1e6:.0f} MB, expected at most {limit_bytes / 1e6:.0f} MB; "
        "cut out the part that matters or save it smaller"
    )
