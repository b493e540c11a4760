"""Where pictures come from: files, cameras, network streams, other programs. `open_source` takes what a user names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detector.errors import UserError
from stream.sources.decode import Decoding
from stream.sources.device import open_camera
from stream.sources.file import VideoFile
from stream.sources.local import local_path
from stream.sources.network import open_network
from stream.sources.pushed import PushSource
from stream.sources.secrets import read_address, redact
from stream.sources.source import Source, SourceStatus

__all__ = ["SAMPLE", "PushSource", "Source", "SourceStatus", "VideoFile", "open_source"]

SAMPLE = Path(__file__).parents[1] / "samples" / "sample.mp4"


def open_source(
    spec: str, *, live: bool = False, loop: bool = False, tap: Callable[[Any, Any], None] | None = None
) -> Source:
    """Open what a user named.

    Args:
        spec: a camera's number or /dev path, a file, an RTSP or HTTP address, `sample`, or `@` and the name of a file
            that holds one of these, so that no process list shows its password.
        live: play a file at its own rate, as if it were a camera.
        loop: play a file for ever.
        tap: is shown (packet, stream) of each packet before it is decoded; cameras of this machine have none.

    Returns:
        The source, connected.

    Raises:
        UserError: it cannot be opened; one line says why, without credentials.
    """
    if not os.path.exists(spec):  # a name may begin with a space, an address that was pasted has one too many
        spec = spec.strip()
    address = spec
    if spec.startswith("@"):
        address = read_address(spec[1:])
    try:
        return _open(address, live, loop, Decoding(tap=tap) if tap else None)
    except UserError as error:
        # A slip in an address, such as `rtsp:/user:password@host`, makes it the name of a file.
        shown = spec if address != spec and "://" not in address else redact(address)
        raise UserError(str(error).replace(address, shown)) from None


def _open(spec: str, live: bool, loop: bool, decoding: Decoding | None) -> Source:
    if spec == "sample":
        if not SAMPLE.exists():
            raise UserError(f"the bundled clip is missing; run: python -m detector.rendering.sample {SAMPLE}")
        return VideoFile(SAMPLE, live=live, loop=loop, name="sample", decoding=decoding)
    path = local_path(spec)
    if path is not None:
        return VideoFile(path, live=live, loop=loop, decoding=decoding)
    if "://" not in spec:
        return open_camera(spec)
    scheme, _, rest = spec.partition("://")
    return open_network(f"{scheme.lower()}://{rest}", live=live, loop=loop, decoding=decoding)
