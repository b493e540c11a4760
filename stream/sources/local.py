"""What a person means who names something of this machine: a file, whatever its name looks like, or a camera."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

from detector.errors import UserError

# Linux's number of video devices.
VIDEO_MAJOR = 81


def local_path(spec: str) -> Path | None:
    """The file that a source's name means, None where it means a camera, an address or the bundled clip.

    A number is a camera where there is one of it, else a file of that name. Below /dev devices are cameras, everything
    else is a file. `file:` addresses are percent-decoded.

    Raises:
        UserError: a file of another machine, or a device that is no camera.
    """
    if spec[:5].lower() == "file:":
        return file_of_url(spec)
    if "://" in spec:
        return None
    if spec.isdigit():
        return Path(spec) if not Path(f"/dev/video{spec}").exists() and os.path.isfile(spec) else None
    if spec == "sample" or spec.startswith("@"):
        return None
    path = Path(os.path.normpath(spec)) if spec.startswith("/") else Path(spec)
    if path.parts[:2] not in (("/", "dev"), ("//", "dev")):
        return Path(spec)
    try:
        kind = path.stat()
    except OSError:
        return path if len(path.parts) > 3 else None
    if stat.S_ISBLK(kind.st_mode) or (stat.S_ISCHR(kind.st_mode) and not _is_video(kind)):
        if path.name == "stdin":
            raise UserError(f"{spec}: no file or pipe is behind it, expected {spec} < video.mp4")
        raise UserError(f"{spec}: is no camera, expected one such as /dev/video0, or a video file")
    return None if stat.S_ISCHR(kind.st_mode) else path


def file_of_url(url: str) -> Path:
    """The path of a `file:` address: `file:///a%20b.mp4`, `file://localhost/a.mp4`, `file:a.mp4`.

    An address that is not escaped although it should be is understood too, if that is the file that exists.

    Raises:
        UserError: it names another machine, or nothing.
    """
    rest = url[len("file:"):]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost", "127.0.0.1", "."):
            raise UserError(f"{url}: is a file of the machine {host!r}, expected file:///PATH of this one")
        rest = slash + path if host != "." else f"./{path}"
    if not rest.strip("/"):
        raise UserError(f"{url}: names no file, expected file:///PATH")
    decoded = os.fsdecode(unquote_to_bytes(rest.encode("utf-8", "surrogateescape")))
    return Path(rest) if os.path.exists(rest) and not os.path.exists(decoded) else Path(decoded)


def _is_video(kind: os.stat_result) -> bool:
    return not sys.platform.startswith("linux") or os.major(kind.st_rdev) == VIDEO_MAJOR
