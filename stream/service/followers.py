"""Who follows answers or events over a WebSocket: a bounded queue from any thread into the server's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from fastapi import WebSocket, WebSocketDisconnect

T = TypeVar("T")


class Follower(Generic[T]):
    """What one WebSocket has still to be told; the oldest go when it is slow."""

    def __init__(self, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[T] = asyncio.Queue(most)

    def tell(self, news: T) -> None:
        """From any thread; never waits."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, news)

    async def next(self) -> T:
        """The oldest that waits."""
        return await self._waiting.get()

    def _put(self, news: T) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(news)


async def serve_follower(
    socket: WebSocket, followers: asyncio.Semaphore, most: int, follow: Callable[[Follower[T]], Callable[[], None]],
    text_of: Callable[[T], str | None],
) -> None:
    """Send what comes until the follower goes.

    Args:
        socket: not accepted yet; refused where too many follow already.
        followers: one place for each.
        most: news that may wait.
        follow: begins to tell a follower; its result ends that.
        text_of: of news; None for nothing to be sent. A `RuntimeError` ends it all.
    """
    if followers.locked():
        return await socket.close(1008)
    await socket.accept()
    follower: Follower[T] = Follower(most)
    async with followers:
        leave = follow(follower)
        gone = asyncio.ensure_future(socket.receive())
        try:
            while not gone.done():
                news = asyncio.ensure_future(follower.next())
                await asyncio.wait({gone, news}, return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    news.cancel()
                    break
                text = text_of(news.result())
                if text is not None:
                    await socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError):  # the follower has gone
            pass
        finally:
            gone.cancel()
            leave()
    return None
