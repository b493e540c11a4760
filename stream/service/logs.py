"""The service's log: one line a change, as text or JSON, never a flood, never a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

# Lines of one kind about one camera within so many seconds.
MOST_LINES, WINDOW_S = 6, 60.0
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")
_CAMERA = re.compile(r"camera ([A-Za-z0-9][A-Za-z0-9_-]*):")


class Secrets:
    """What is never written; may grow while the service runs."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def learn(self, values: Iterable[str]) -> None:
        """Addresses and tokens: passwords within addresses are found."""
        found = set(self._known)
        for value in values:
            found.update(_secret_parts(value))
        # The longest first, so that no part of one stays.
        self._known = tuple(sorted(found, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """The text without them."""
        for secret in self._known:
            text = text.replace(secret, "***")
        return _BEARER.sub(r"\1***", _CREDENTIALS.sub("***@", text))


def _secret_parts(value: str) -> set[str]:
    if "://" not in value:
        return {value} if len(value) >= 8 else set()
    try:
        parts = urlsplit(value)
        found = {parts.password or "", parts.query}
    except ValueError:
        found = {value}
    return {part for part in found if len(part) >= 4}


class Brake(logging.Filter):
    """Lets at most `MOST_LINES` lines of one kind through in `WINDOW_S`, and says then how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._lock = clock, threading.Lock()
        self._passed: dict[tuple[str, str], deque[float]] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line may be written; errors with a traceback count as a kind of their own."""
        first = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        key = (str(record.msg), str(first))
        now_s = self._clock()
        with self._lock:
            passed = self._passed.setdefault(key, deque())
            while passed and passed[0] <= now_s - WINDOW_S:
                passed.popleft()
            if len(passed) >= MOST_LINES:
                self._left_out[key] = self._left_out.get(key, 0) + 1
                return False
            passed.append(now_s)
            left_out = self._left_out.pop(key, 0)
            if len(self._passed) > 1000:
                self._passed = {k: times for k, times in self._passed.items() if times and times[-1] > now_s - WINDOW_S}
        record.left_out = left_out
        return True


class Lines(logging.Formatter):
    """A record as one line of text or JSON."""

    def __init__(self, as_json: bool, secrets: Secrets) -> None:
        super().__init__()
        self._as_json, self._secrets = as_json, secrets

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        text = record.getMessage()
        if record.exc_info:
            text += f" | {self.formatException(record.exc_info)}"
        left_out = getattr(record, "left_out", 0)
        if left_out:
            text += f" ({left_out} lines like this were left out)"
        text = self._secrets.clean(" ".join(text.splitlines()))
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level = record.levelname.lower()
        if not self._as_json:
            return f"{moment} {level} {text}"
        line = {"time": moment, "level": level, "logger": record.name, "message": text}
        camera = _CAMERA.match(text)
        if camera:
            line["camera"] = camera.group(1)
        return json.dumps(line, ensure_ascii=False)


def start_logging(as_json: bool, secrets: Secrets, stream=None) -> None:
    """Write this project's log to standard error, and warnings of others."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(as_json, secrets))
    handler.addFilter(Brake())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("stream", "engine_build", "detector"):
        logging.getLogger(room).setLevel(logging.INFO)
