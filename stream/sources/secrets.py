"""Passwords in addresses: kept out of whatever is shown, escaped for FFmpeg, read from files or the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from detector.errors import UserError

HIDDEN = "***"
VARIABLE = "SLOWFAST_SOURCE"
# Of a file that holds an address, so that a film given by mistake is not read whole.
MOST_LETTERS = 65536
# A key whose name holds one of these has a secret for its value; so have user names, which are half of one.
_SECRET = (
    r"[\w.\-]*(?:pass|pwd|psw|secret|token|key|auth|sig|cred|session|jwt|bearer|user|usr|login)[\w.\-]*"
    r"|pw|[\w.\-]*_pw|pin|code|hash|nonce|account"
)
# What may stand behind a secret without being part of it; anything else might be.
_PLAIN = "channel|stream|subtype|profile|res|resolution|real_stream|video|audio|mode|live|fps|format"
# `password=value` in a path. Cameras write several into one part of it (`user=admin_password=X_channel=1`).
_PAIR = re.compile(
    rf"(?<![a-z0-9])((?:{_SECRET})(?:=|:|%3d|%3a))(.*?)"
    rf"(?=[_&;,/? ](?:{_PLAIN}|user|username|pass|password|pwd)(?:=|%3d)|$)",
    re.IGNORECASE,
)
# `/token/value`
_FOLDER = re.compile(
    r"(?<=/)((?:[a-z]+[_\-]?)?(?:token|key|password|passwd|pwd|secret|auth|sig|signature))/([^/]+)", re.IGNORECASE
)
# A part of a path that no person would choose as a name: a key that opens the stream to whoever has it.
_RANDOM = re.compile(
    r"(?<=/)(?:(?=[^/]*[a-z])(?=[^/]*[A-Z])(?=[^/]*\d)[A-Za-z0-9]{12,}|[0-9a-fA-F-]{32,})(?=/|$)"
)


def redact(address: str) -> str:
    """An address without what opens the stream, for anything that is shown or stored.

    Hidden are what stands between `://` and the last `@`, all values of a query, the values of whatever reads like a
    secret elsewhere, parts of a path that are random letters, and what follows `#`. A path of this machine comes back
    as it is, but for what looks like user and password in it. It rather hides too much: where a secret ends is often
    not to be told.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return re.sub("^.*:.*@", f"{HIDDEN}@", address)
    login, at, rest = rest.rpartition("@")
    if _PAIR.search(re.sub("^[^/?;]*", "", login)):
        return f"{scheme}://{HIDDEN}"  # the @ is part of a secret, and so may be what follows
    host, slash, path = re.match("([^/?;#]*)([/?;#]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    path = slash + path
    first = _PAIR.search(path)
    if first and "?" not in path[:first.start()]:
        path = _PAIR.sub(rf"\1{HIDDEN}", path)  # the secret itself may hold a ? or #
    path, mark, query = path.partition("#")[0].partition("?")
    path = _RANDOM.sub(HIDDEN, _FOLDER.sub(rf"\1/{HIDDEN}", path))
    return f"{scheme}://{HIDDEN + at if at else ''}{host}{path}{mark}{_hide_values(query)}"


def redact_text(text: str) -> str:
    """A sentence with every address in it redacted."""
    return re.sub(r"\S*(?:://|@)\S*", lambda found: redact(found[0]), text)


def _hide_values(query: str) -> str:
    """Names stay, values go; what has no name is a value, and what follows a secret may be the rest of it."""
    shown, after_secret = [], False
    for part in re.split("[&;]", query) if query else []:
        name, equals, _ = part.partition("=")
        secret = re.fullmatch(_SECRET, name, re.IGNORECASE) is not None
        known = secret or not after_secret or re.fullmatch(_PLAIN, name, re.IGNORECASE) is not None
        shown.append(f"{name}={HIDDEN}" if equals and known else HIDDEN)
        after_secret = after_secret or secret
    return "&".join(shown)


def file_stem(name: str) -> str:
    """What a file that is made from a source of that name is to be called, without an ending."""
    if "://" not in name:
        return Path(name).stem
    last = redact(name).partition("://")[2].partition("?")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.\-]+", "_", Path(last).stem).strip("_") or "stream"


def for_ffmpeg(address: str) -> str:
    """The address with user and password escaped where a URL wants that; what is escaped already stays.

    People paste passwords as they are. `rtsp://admin:2024/secret@host/live` has its host after the last `@`, as cameras
    print such addresses, unless what stands where a URL has its host looks like one (a dot in it, brackets) and what
    follows the last `@` does not.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or "@" not in rest:
        return address
    first = re.split("[/?#]", rest, maxsplit=1)[0]
    login, _, place = rest.rpartition("@")
    standard_login, at, standard_host = first.rpartition("@")
    if not at and (":" not in first or (scheme.lower().startswith("http") and (_is_host(first) or login[-1:] == "/"))):
        return address
    if _is_host(standard_host) and not _is_host(re.split("[/?#]", place, maxsplit=1)[0]):
        if not at:
            return address
        login, place = standard_login, rest[len(standard_login) + 1:]
    user, colon, password = login.partition(":")
    return f"{scheme}://{_escape(user)}{colon}{_escape(password)}@{place}"


def _is_host(text: str) -> bool:
    return re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|localhost|[^:\[\]]+\.[^:\[\]]+)(:\d{1,5})?", text) is not None


def _escape(text: str) -> str:
    """Percent-encode; `%40` stays, a `%` that escapes nothing is one."""
    pieces = re.split("(%[0-9a-fA-F]{2})", text)
    return "".join(piece if i % 2 else quote(piece, safe="") for i, piece in enumerate(pieces))


def source_from_environment() -> str | None:
    """What `SLOWFAST_SOURCE` names, None where it is not set; it is taken out, so that no child process inherits it."""
    return os.environ.pop(VARIABLE, "").strip() or None


def read_address(path: str) -> str:
    """The first line of a file that holds an address, so that no process list shows it.

    Raises:
        UserError: it cannot be read, or nothing is in it. The line itself is never told.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(MOST_LETTERS).splitlines()
    except OSError as error:
        raise UserError(f"@{path}: cannot be read ({error.strerror}); expected a file with an address in it") from None
    except ValueError:
        raise UserError(f"@{path}: is not text, expected a file with an address in it") from None
    stripped = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not stripped:
        raise UserError(f"@{path}: is empty, expected a line with an address")
    return stripped[0]
