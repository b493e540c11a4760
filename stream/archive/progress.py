"""How far an archive is: a bar with the time left on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from stream.archive.videos import Video

# Without a terminal: seconds between two lines.
LINE_EVERY_S = 30.0


class Progress:
    """Counts bytes of videos, which are known before any is opened; a video under way counts by its share."""

    def __init__(
        self, jobs: Sequence[tuple[Video, str]], say: Callable[[str], object], *, terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            jobs: what is to be done.
            say: takes a line.
            terminal: whether to draw a bar; None to ask standard error.
            clock: seconds, monotonic.
        """
        self._bytes = {key: max(video.size_bytes, 1) for video, key in jobs}
        self._share: dict[str, float] = {}
        self._say, self._clock = say, clock
        self._start_s = self._told_s = clock()
        self._videos = self._bad = 0
        self._seconds = 0.0
        self._bar: Any = None
        if self._bytes and (sys.stderr.isatty() if terminal is None else terminal):
            from tqdm import tqdm

            form = "{percentage:3.0f} % |{bar:30}| {desc}, {remaining} left"
            self._bar = tqdm(total=sum(self._bytes.values()), bar_format=form, file=sys.stderr, leave=False)
        self._show()

    def at(self, key: str, share: float) -> None:
        """A video is done so far."""
        self._share[key] = share
        self._show()

    def done(self, key: str, seconds: float) -> None:
        """A video of so many seconds is done."""
        self._videos += 1
        self._seconds += seconds
        self.at(key, 1.0)

    def bad(self, key: str) -> None:
        """A video cannot be done."""
        self._bad += 1
        self.at(key, 1.0)

    def say(self, line: str) -> None:
        """A line that does not disturb the bar."""
        if self._bar is None:
            self._say(line)
        else:
            self._bar.write(line, file=sys.stderr)

    def speed(self) -> str:
        """Throughput in words: `3.4 s of video a second`."""
        took_s = max(self._clock() - self._start_s, 1e-6)
        return f"{self._seconds / took_s:.1f} s of video a second" if self._seconds else "nothing was left to do"

    def left_s(self) -> float | None:
        """Seconds that are left, at the pace so far; None before anything is known."""
        done = sum(self._bytes[key] * share for key, share in self._share.items())
        total = sum(self._bytes.values())
        return (self._clock() - self._start_s) * (total - done) / done if done else None

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self) -> None:
        words = f"{self._videos} of {len(self._bytes)} videos"
        if self._bad:
            words += f", {self._bad} bad"
        if self._seconds:
            words += f", {self.speed()}"
        if self._bar is not None:
            self._bar.set_description_str(words, refresh=False)
            done = sum(self._bytes[key] * share for key, share in self._share.items())
            self._bar.update(max(done - self._bar.n, 0))
        elif self._clock() - self._told_s >= LINE_EVERY_S:
            self._told_s = self._clock()
            left_s = self.left_s()
            self._say(words + ("" if left_s is None else f", about {_time(left_s)} left"))


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}:{minutes:02d} h" if hours else f"{minutes} min"
