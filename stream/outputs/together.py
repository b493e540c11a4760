"""The outputs of one run: written to together, closed whatever happens, and told of only if they are whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from detector.files import readable_name


class AtFirst:
    """An output that is opened when the first thing is written to it.

    What fails before that, a model that does not load or a camera that is not there, leaves the file of an earlier
    run as it was and no empty one.
    """

    def __init__(self, path: str, open_it: Callable[[], Any]) -> None:
        self._path, self._open = path, open_it
        self._sink: Any = None
        self._failed = self._closed = False

    @property
    def path(self) -> str:
        """Of the file; a film's may have become another when it was opened."""
        return str(getattr(self._sink, "path", self._path))

    @property
    def opened(self) -> bool:
        """Something was written."""
        return self._sink is not None

    @property
    def whole(self) -> bool:
        """Something was written, and everything that was given; closed."""
        return self.opened and self._closed and not self._failed

    def write(self, *what: Any) -> None:
        """Append what the output takes."""
        self._failed = True
        if self._sink is None:
            self._sink = self._open()
        self._sink.write(*what)
        self._failed = False

    def close(self, **how: Any) -> None:
        """Finish the file, if there is one."""
        if self._sink is None or self._closed:
            return
        self._closed = failed = True
        try:
            self._sink.close(**how)
            failed = False
        finally:
            self._failed = self._failed or failed


class Outputs:
    """Text files that take answers, and a film."""

    def __init__(self, texts: Sequence[AtFirst] = (), film: AtFirst | None = None) -> None:
        self.texts, self.film = list(texts), film

    def write(self, news: Any) -> None:
        """Give an answer, or a change of the source's status, to all text files."""
        for text in self.texts:
            text.write(news)

    def close(self, in_a_hurry: bool = False) -> None:
        """Finish all of them; the first error is raised when all are closed.

        Args:
            in_a_hurry: a long film stays without its index in front; it plays.

        Raises:
            UserError: one could not be finished.
        """
        first: BaseException | None = None
        for output in (*self.texts, *([self.film] if self.film else [])):
            try:
                output.close(**({"in_a_hurry": in_a_hurry} if output is self.film else {}))
            except Exception as error:
                first = first or error
        if first is not None:
            raise first

    def told(self) -> list[str]:
        """A line for each file that is whole: `wrote out.mp4`."""
        every = (*self.texts, *([self.film] if self.film else []))
        return [f"wrote {readable_name(output.path)}" for output in every if output.whole and output.path != "-"]
