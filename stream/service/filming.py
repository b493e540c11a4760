"""A camera's large stream beside the small one that is looked at: its packets are read for films, never decoded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from detector.errors import UserError
from stream.sources.decode import ConnectionLost, Decoding
from stream.sources.network import NetworkStream
from stream.sources.reconnect import Backoff
from stream.sources.secrets import redact

log = logging.getLogger(__name__)
# How often it is looked whether films are wanted now.
LOOK_S = 1.0


class _Enough(Exception):
    """The reader was closed."""


class PacketReader:
    """Reads one address in a thread of its own, connects again when it is lost, until it is closed."""

    def __init__(
        self, url: str, tap: Callable[[Any, Any], None], *, wanted: Callable[[], bool] = lambda: True,
        connect: Callable[[str, Decoding], NetworkStream] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            url: rtsp:// or http:// address, or whatever else FFmpeg opens over a network; others are not read.
            tap: takes (packet, stream), in the reader's thread.
            wanted: whether somebody wants the packets now; the camera is left alone while nobody does.
            connect: opens the address.
            clock: seconds, monotonic.
        """
        self._url, self._name, self._tap, self._wanted, self._clock = url, redact(url), tap, wanted, clock
        self._connect = connect or (lambda url, decoding: NetworkStream(url, decoding=decoding))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packets for films", daemon=True)
        if "://" in url and not url.lower().startswith("file:"):
            self._thread.start()

    def close(self) -> None:
        """Tell the thread to end; it does with the next packet."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; True if it ended in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        backoff, said = Backoff(), ""
        while not self._stop.is_set():
            if not self._wanted():
                self._stop.wait(LOOK_S)
                continue
            try:
                self._read(backoff)
                reason = "the stream ended"
            except _Enough:
                continue
            except (UserError, ConnectionLost) as error:
                reason = str(error).splitlines()[0]
            except Exception as error:  # a film is worth a line, not the service
                reason = f"{type(error).__name__}: {error}"
            if reason != said:
                said = reason
                log.warning("%s: no packets for films: %s", self._name, reason)
            self._stop.wait(backoff.next_wait_s(self._clock()))

    def _read(self, backoff: Backoff) -> None:
        def take(packet: Any, stream: Any) -> None:
            if self._stop.is_set() or not self._wanted():
                raise _Enough
            backoff.connected(self._clock())
            self._tap(packet, stream)

        stream = self._connect(self._url, Decoding(tap=take, packets_only=True))
        try:
            for _ in stream:
                pass
        finally:
            stream.close()
