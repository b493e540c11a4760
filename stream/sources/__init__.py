"""Where pictures come from: files, cameras, network streams, other programs. `open_source` takes what a user names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from detector.errors import UserError
from stream.sources.device import open_camera
from stream.sources.file import VideoFile
from stream.sources.network import open_network
from stream.sources.pushed import PushSource
from stream.sources.source import Source, SourceStatus

__all__ = ["SAMPLE", "PushSource", "Source", "SourceStatus", "VideoFile", "open_source"]

SAMPLE = Path(__file__).parents[1] / "samples" / "sample.mp4"


def open_source(spec: str, *, live: bool = False, loop: bool = False) -> Source:
    """Open what a user named.

    Args:
        spec: a camera's number or /dev path, a file, an RTSP or HTTP address, or `sample`.
        live: play a file at its own rate, as if it were a camera.
        loop: play a file for ever.

    Returns:
        The source, connected.

    Raises:
        UserError: it cannot be opened; one line says why, without credentials.
    """
    spec = spec.strip()
    if spec == "sample":
        if not SAMPLE.exists():
            raise UserError(f"the bundled clip is missing; run: python -m detector.rendering.sample {SAMPLE}")
        return VideoFile(SAMPLE, live=live, loop=loop, name="sample")
    if spec.isdigit() or spec.startswith("/dev/"):
        return open_camera(spec)
    if "://" in spec:
        scheme = urlsplit(spec).scheme.lower()
        if scheme == "file":
            return VideoFile(spec.split("://", 1)[1], live=live, loop=loop)
        return open_network(spec, live=live, loop=loop)
    return VideoFile(spec, live=live, loop=loop)
