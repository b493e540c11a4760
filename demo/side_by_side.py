"""What a line does at the same time: it reads, tells and sends until one of these ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence


async def until_one_ends(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all, and end the others with the first that ends; what that raised is raised."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
