"""RTSP and HTTP streams, and files on a server."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from detector.errors import UserError
from stream.sources.decode import Decoding, Video, open_video
from stream.sources.file import VideoFile
from stream.sources.reconnect import LiveCamera
from stream.sources.secrets import for_ffmpeg, redact
from stream.sources.source import Source

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 8.0, 5.0
# Whether anybody listens at all is known sooner: an attempt that waits for a machine that is off would miss its return.
KNOCK_TIMEOUT_S = 2.0
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
# TCP first: a lost UDP packet tears the picture until the next key frame. Some servers have one of these only.
TRANSPORTS = ("tcp", "udp", "udp_multicast")
# Refusals that have nothing to do with how the pictures would travel, by name of FFmpeg's error.
FINAL_ERRORS = ("HTTPUnauthorizedError", "HTTPForbiddenError", "HTTPNotFoundError", "ConnectionRefusedError")
# Formats that come a segment at a time.
SEGMENTED = ("hls", "dash")


class NetworkStream:
    """An open RTSP or HTTP stream.

    Attributes:
        video: what is read from.
        fps: nominal rate, None where it is not believable.
        transport: that an RTSP server agreed to; "" for others.
        gave_pictures: at least one.
        paced: pictures come in bursts, a segment at a time.
        may_burst: they may turn out to. An RTSP camera sends each picture as it is made.
    """

    def __init__(
        self, url: str, transports: Sequence[str] = TRANSPORTS, decoding: Decoding | None = None
    ) -> None:
        """
        Args:
            url: the address, user and password as they are.
            transports: of RTSP, in the order in which they are tried.
            decoding: by what, and which pictures.

        Raises:
            UserError: no answer, refused, no video; without credentials.
        """
        rtsp = _scheme(url) in ("rtsp", "rtsps")
        self.video, self.transport = (
            _open_rtsp(url, transports, decoding) if rtsp else (_open(url, {}, decoding), "")
        )
        self.gave_pictures = False
        self.fps = self.video.fps
        # MJPEG over HTTP has no time stamps; FFmpeg invents 25 a second.
        self._stamped = self.video.format_name not in ("mpjpeg", "mjpeg")
        self.paced = any(name in SEGMENTED for name in self.video.format_name.split(","))
        self.may_burst = self._stamped and not rtsp

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        for image, pts_s in self.video:
            self.gave_pictures = True
            yield image, pts_s if self._stamped else None

    def close(self) -> None:
        """Hang up."""
        self.video.close()


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _open(url: str, options: dict[str, str], decoding: Decoding | None) -> Video:
    return open_video(
        for_ffmpeg(url), shown_name=redact(url), timeout_s=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), options=options,
        low_delay=True, decoding=decoding,
    )


def _open_rtsp(url: str, transports: Sequence[str], decoding: Decoding | None) -> tuple[Video, str]:
    """Try the transports in turn, where the server is there and does not refuse for another reason."""
    first_error: UserError | None = None
    for transport in transports:
        start_s = time.monotonic()
        try:
            return _open(url, {"rtsp_transport": transport}, decoding), transport
        except UserError as error:
            first_error = first_error or error
            if _is_final(error) or time.monotonic() - start_s >= OPEN_TIMEOUT_S:
                break
    assert first_error is not None
    raise first_error


def _is_final(error: BaseException | None) -> bool:
    while error is not None:
        if type(error).__name__ in FINAL_ERRORS:
            return True
        error = error.__context__
    return False


def knock(url: str) -> None:
    """See whether a server listens, sooner than opening it would tell; for what is not spoken over TCP nothing is done.

    Raises:
        UserError: nobody does; one line without credentials.
    """
    scheme = _scheme(url)
    if scheme not in PORTS or scheme in urllib.request.getproxies():
        return
    place = re.split("[/?#]", for_ffmpeg(url).partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    parts = re.fullmatch(r"\[?([^\[\]]*?)\]?(?::(\d{1,5}))?", place)
    if parts is None:
        return
    try:
        socket.create_connection((parts[1], int(parts[2] or PORTS[scheme])), KNOCK_TIMEOUT_S).close()
    except TimeoutError:
        raise UserError(f"{redact(url)}: no answer within {KNOCK_TIMEOUT_S:g} s") from None
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such address"
        raise UserError(f"{redact(url)}: cannot be opened ({reason})") from None


def open_network(
    url: str, *, live: bool = False, loop: bool = False, decoding: Decoding | None = None, **changes: Any
) -> Source:
    """A stream, or a file on a server (told by its known duration), by its address.

    Raises:
        UserError: it cannot be opened.
    """
    name = redact(url)
    first = NetworkStream(url, decoding=decoding)
    if first.video.duration_s is not None and not first.transport:
        first.close()
        timeout_s = (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
        return VideoFile(
            for_ffmpeg(url), live=live, loop=loop, name=name, timeout_s=timeout_s, decoding=decoding
        )
    return LiveCamera(name, _Connector(url, first, decoding).connect, **changes)


class _Connector:
    """Connects to one address again and again, over the transport that worked last."""

    def __init__(self, url: str, first: NetworkStream, decoding: Decoding | None) -> None:
        self._url, self._last, self._handed_out, self._decoding = url, first, False, decoding

    def connect(self) -> NetworkStream:
        if not self._handed_out:
            self._handed_out = True
            return self._last
        knock(self._url)
        at = TRANSPORTS.index(self._last.transport) if self._last.transport else 0
        if not self._last.gave_pictures:
            # It agreed and sent nothing, as servers do whose firewall or whose other transports are amiss.
            at += 1
        self._last = NetworkStream(self._url, [*TRANSPORTS[at:], *TRANSPORTS[:at]], self._decoding)
        return self._last
