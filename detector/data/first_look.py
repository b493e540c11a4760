"""How large a video's pictures are, before any decoder takes memory for one.

Opening a container decodes pictures where its header does not say enough (FLV, MPEG-TS), and no limit reaches those
decoders. So a file whose pictures are to be limited is looked at with all of them forbidden first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# FFmpeg's option: a decoder refuses larger pictures before it takes memory for them.
MAX_PIXELS = "max_pixels"
# Packets that a decoder gets to say a size that no header told.
PACKETS = 16


def open_if_too_large(name: str, given: dict[str, Any], film: Callable[[Any], Any]) -> Any:
    """The container, opened without decoders, if its film has larger pictures than `max_pixels` allows; else None.

    Args:
        name: what FFmpeg shall open.
        given: arguments of `av.open`, with `max_pixels` among its options.
        film: chooses the stream of a container.

    Raises:
        OSError, ValueError, av.FFmpegError: it cannot be opened.
    """
    import av

    limit = int(given["options"][MAX_PIXELS])
    without_decoders = {**given, "options": {**given["options"], "codec_whitelist": "none"}}
    container = av.open(name, **without_decoders)
    stream = film(container)
    if stream is not None:
        context = stream.codec_context
        if context.width * context.height > limit:
            return container
        if not context.width and _refused(container, stream, limit):
            container.close()
            return av.open(name, **without_decoders)
    container.close()
    return None


def _refused(container: Any, stream: Any, limit: int) -> bool:
    """Whether the film's own decoder, which is told the limit, gives no picture of its first packets."""
    import av

    stream.codec_context.options = {MAX_PIXELS: str(limit)}
    try:
        for _, packet in zip(range(PACKETS), container.demux(stream)):
            if packet.decode():
                return False
    except av.FFmpegError:
        return True
    return False
