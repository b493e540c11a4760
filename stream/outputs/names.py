"""Names of outputs, looked at before any work is done: nothing that is there is overwritten by mistake."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from detector.errors import UserError
from detector.files import readable_name

LONGEST_NAME_BYTES = 255


def same_file_key(path: str | Path) -> tuple[object, ...]:
    """Equal for two names of one file: symbolic and hard links, relative paths, folders mounted twice.

    A file that is not there yet is known by the folder it would be made in.
    """
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError:
        folder, name = os.path.split(real)
        try:
            above = os.stat(folder)
        except OSError:
            return ("name", real)
        return ("new", above.st_dev, above.st_ino, name)
    return ("file", found.st_dev, found.st_ino)


def check_outputs(outputs: Mapping[str, str | Path | None], source: str | Path | None = None) -> None:
    """Refuse outputs that are the source, or each other, or that cannot be written for their name.

    Args:
        outputs: path by the option that named it; None for those not wanted, `-` is standard output.
        source: the file that is watched, None where it is none.

    Raises:
        UserError: one line that names the option.
    """
    seen: dict[tuple[object, ...], str] = {}
    source_key = same_file_key(source) if source is not None and os.path.exists(source) else None
    for option, path in outputs.items():
        if path is None:
            continue
        shown = f"{option} {readable_name(path)}"
        key: tuple[object, ...] = ("-",)
        if str(path) != "-":
            _check_name(shown, str(path))
            key = same_file_key(path)
            if key[0] == "file" and key == source_key and not _may_be_shared(path):
                raise UserError(f"{shown}: is the source itself, expected another file to write to")
        if key in seen and (key[0] != "file" or not _may_be_shared(path)):
            raise UserError(f"{shown}: is the same file as {seen[key]}, expected different files")
        seen[key] = shown


def check_appendable(shown: str, path: str | Path, is_ours: Callable[[str], bool]) -> bool:
    """Whether there is something to append to; a file that holds something else is refused.

    Args:
        shown: what to call it.
        path: of a file that may exist.
        is_ours: of its first line, or the first 4096 letters of that.

    Raises:
        UserError: it holds something else, or cannot be read.
    """
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"{shown}: cannot be read ({error.strerror}), expected a file to append to") from None
    # The last letter may be cut in two.
    text = head.decode("utf-8", "replace")[: -4 if len(head) == 4096 else None]
    if head and ("\0" in text or "\ufffd" in text or not is_ours(text.split("\n")[0])):
        raise UserError(f"{shown}: holds something else, expected a new name or a file to append to")
    return bool(head)


def free_name(path: str | Path) -> Path:
    """The path itself, or with `-2`, `-3` … before its ending if a file of that name is there."""
    path = Path(path)
    number, candidate = 1, path
    while os.path.lexists(candidate):
        number += 1
        candidate = with_ending(path, f"-{number}{path.suffix}")
    return candidate


def with_ending(path: Path, ending: str, stem: str | None = None) -> Path:
    """The path with another ending, its name cut to what file systems take."""
    stem = path.stem if stem is None else stem
    while len(stem) > 1 and len(os.fsencode(stem + ending)) > LONGEST_NAME_BYTES:
        stem = stem[:-1]
    return path.with_name(stem + ending)


def _may_be_shared(path: str | Path) -> bool:
    """Devices such as /dev/null, and pipes, may take more than one output."""
    return not stat.S_ISREG(os.stat(path).st_mode)


def _check_name(shown: str, path: str) -> None:
    if not path.strip():
        raise UserError(f"{shown.split(' ')[0]}: got an empty name, expected that of a file")
    if path.endswith(("/", os.sep)) or os.path.basename(path) in (".", ".."):
        raise UserError(f"{shown}: is a folder's name, expected a file's")
    if path[:5].lower() == "file:" or "://" in path:
        raise UserError(f"{shown}: is an address, expected the path of a file")
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        what = "its name is too long" if error.errno == errno.ENAMETOOLONG else error.strerror
        raise UserError(f"{shown}: cannot be written ({what}); give another path") from None
    except ValueError:
        raise UserError(f"{shown!r}: is no name of a file") from None
