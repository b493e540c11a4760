"""RTSP and HTTP streams, and files on a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from stream.sources.decode import Decoding, Video, open_video, redact
from stream.sources.file import VideoFile
from stream.sources.reconnect import LiveCamera
from stream.sources.source import Source

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 8.0, 5.0


class NetworkStream:
    """An open RTSP or HTTP stream."""

    def __init__(self, url: str, decoding: Decoding | None = None) -> None:
        """
        Args:
            url: of the stream.
            decoding: by what, and which pictures.

        Raises:
            UserError: no answer, refused, no video; without credentials.
        """
        self.video: Video = open_video(
            url, shown_name=redact(url), timeout_s=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), options=_options(url),
            low_delay=True, decoding=decoding,
        )
        self.fps = self.video.fps
        # MJPEG over HTTP has no time stamps; FFmpeg invents 25 a second.
        self._stamped = self.video.format_name not in ("mpjpeg", "mjpeg")

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        for image, pts_s in self.video:
            yield image, pts_s if self._stamped else None

    def close(self) -> None:
        """Hang up."""
        self.video.close()


def _options(url: str) -> dict[str, str]:
    # TCP: a lost UDP packet tears the picture until the next key frame.
    return {"rtsp_transport": "tcp"} if url.lower().startswith(("rtsp:", "rtsps:")) else {}


def open_network(
    url: str, *, live: bool = False, loop: bool = False, decoding: Decoding | None = None, **changes: Any
) -> Source:
    """A stream, or a file on a server (told by its known duration), by its address.

    Raises:
        UserError: it cannot be opened.
    """
    name = redact(url)
    opened = [NetworkStream(url, decoding)]
    if opened[0].video.duration_s is not None and not url.lower().startswith("rtsp"):
        opened[0].close()
        return VideoFile(url, live=live, loop=loop, name=name, timeout_s=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))

    def connect() -> NetworkStream:
        return opened.pop() if opened else NetworkStream(url, decoding)

    return LiveCamera(name, connect, **changes)
