"""Fetching one published file whole: resumed, retried, checked, and put in place at once.

HTTP is `requests` with urllib3's `Retry`; what is on top is resuming after a broken or stalled body. While a file
is fetched, its bytes are in `NAME.part`, what the server said of it in `NAME.part.json`, and `NAME.lock` keeps a
second process out. Nothing here knows what weights are for.

What is checked: the publisher's checksum or prefix of one, where there is one; else size and SHA-256 of the first
complete download, which are kept in `NAME.sha256.json` and held against every later one. The first is trusted as it
comes over HTTPS.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from detector.errors import UserError
from detector.files import write_whole
from detector.weights.records import WeightsFile

# What of a chunk came before the connection broke is lost, so chunks are small.
_CHUNK_BYTES = 1 << 14
_BUSY = (429, 500, 502, 503, 504)
# A server may ask for patience; beyond this the person at the keyboard decides.
LONGEST_WAIT_S = 60.0
# The largest published file has 0.5 GB. A body of unknown length ends here.
MOST_BYTES = 2 << 30


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        connect_s: until a connection stands.
        stall_s: without a byte, before the connection counts as stalled.
        backoff_s: before the second try; doubles each time.
        tries: in a row without a new byte, before giving up.
    """

    connect_s: float = 10.0
    stall_s: float = 30.0
    backoff_s: float = 0.5
    tries: int = 5


_UNKNOWN_HOST, _REFUSED, _NO_NETWORK = "the host's name is not known here", "connection refused", "no network"
_NOT_ONLINE = (_UNKNOWN_HOST, _REFUSED, _NO_NETWORK)
_SIGNS = (
    ("Read timed out", "the connection stalled"),
    ("NameResolution", _UNKNOWN_HOST),
    ("Name or service", _UNKNOWN_HOST),
    ("Connection refused", _REFUSED),
    ("unreachable", _NO_NETWORK),
    ("ConnectTimeout", "no answer"),
    ("IncompleteRead", "the connection broke off"),
    ("RemoteDisconnected", "the connection broke off"),
    ("reset by peer", "the connection broke off"),
    ("Unable to connect to proxy", "the proxy does not answer"),
    ("CERTIFICATE_VERIFY", "its TLS certificate is not trusted here"),
)


class _Broken(Exception):
    """The body ended early; another try may go on from there."""


class _TooLong(Exception):
    """The body goes on after its end; the number is where that should have been."""


class _AskedToWait(Exception):
    """The server named a time that is too long to wait for."""


class _Retry(Retry):
    """urllib3's, except that a long Retry-After is not slept through."""

    def get_retry_after(self, response) -> float | None:  # type: ignore[no-untyped-def]
        wait_s = super().get_retry_after(response)
        if wait_s is not None and wait_s > LONGEST_WAIT_S:
            raise _AskedToWait(f"{wait_s:.0f}")
        return wait_s


@dataclass(frozen=True)
class Facts:
    """Size and SHA-256 of a complete file."""

    size_bytes: int
    sha256: str


def facts_of(path: Path) -> Facts:
    """Read a file and say what it is."""
    with path.open("rb") as file:
        return Facts(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def checked_against(weights: WeightsFile) -> str:
    """What a download is held against, in a few words."""
    if weights.sha256:
        return f"its publisher's SHA-256 {weights.sha256[:12]}" + ("" if len(weights.sha256) == 64 else "…")
    if weights.md5_prefix:
        return f"its publisher's MD5 {weights.md5_prefix}…, and the first download's SHA-256"
    return "the first download's SHA-256 (its publisher states none)"


def fetch_file(weights: WeightsFile, folder: Path, patience: Patience | None = None, quiet: bool = False) -> Path:
    """Fetch a file into a folder, unless it is there. Goes on where an earlier, broken fetch ended.

    Args:
        weights: URL, name, and what is known of size and checksum.
        folder: made where missing.
        patience: time-outs and tries.
        quiet: no progress bar; there is none anyway where standard error is no terminal.

    Returns:
        The complete, checked file.

    Raises:
        UserError: offline, refused, gone, an HTML page, too short, too long, wrong checksum, not the file of the first
            download, disk full, folder not writable; the line says what to do.
    """
    target = folder / weights.filename
    if target.is_file():
        problem = _problem_with_facts(target, facts_of(target))
        if problem:
            raise UserError(f"{target}: {problem}; delete it and fetch it again")
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(target):
            if not target.is_file():  # another process may have finished it while this one waited
                _download(weights, target, patience or Patience(), quiet)
    except _AskedToWait as error:
        raise UserError(f"{weights.url}: the server asks to wait {error} s; run the same command again then") from None
    except requests.RequestException as error:
        raise UserError(_unreachable(weights, target, error)) from None
    except OSError as error:
        hint = "free some space" if error.errno == errno.ENOSPC else "set SLOWFAST_CACHE to a folder you can write to"
        raise UserError(f"cannot write {target}: {error.strerror or error}; {hint}, then fetch again") from None
    return target


def _only_one(target: Path) -> FileLock:
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        print(f"waiting: another process is fetching {target.name}")
        lock.acquire()
    lock.release()
    return lock


def _download(weights: WeightsFile, target: Path, patience: Patience, quiet: bool) -> None:
    part, notes = Path(f"{target}.part"), Path(f"{target}.part.json")
    idle = 0
    with _session(patience) as session:
        while True:
            before = _size(part)
            try:
                _get_rest(session, weights, part, notes, patience, quiet)
                break
            except _TooLong as error:
                _remove(part, notes)
                raise UserError(
                    f"{weights.url}: more than {error} bytes came, expected no more; the download was thrown away"
                ) from None
            except (_Broken, requests.ConnectionError, requests.Timeout) as error:
                idle = 0 if _size(part) > before else idle + 1
                hopeless = 2 if _reason(error) in _NOT_ONLINE else patience.tries
                if idle >= hopeless:
                    raise requests.ConnectionError(_reason(error)) from None
                time.sleep(patience.backoff_s * 2**idle)
    facts = facts_of(part)
    problem = _problem_with(part, weights) or _problem_with_facts(target, facts)
    if problem:
        _remove(part, notes)
        raise UserError(f"{weights.url}: {problem}; the download was thrown away, fetch it again")
    known = _facts_path(target)
    if not known.exists():
        write_whole(known, json.dumps({"url": weights.url, **vars(facts)}, indent=1) + "\n")
    os.replace(part, target)
    _remove(notes)


def _facts_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256.json")


def first_facts(target: Path) -> Facts | None:
    """Size and checksum of the first complete download of a file, or None."""
    try:
        known = json.loads(_facts_path(target).read_text(encoding="utf-8"))
        return Facts(int(known["size_bytes"]), str(known["sha256"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _problem_with_facts(target: Path, facts: Facts) -> str:
    """How a file differs from the first download of it, or ""."""
    first = first_facts(target)
    if first is None or first == facts:
        return ""
    return (
        f"got {facts.size_bytes} bytes with sha256 {facts.sha256[:12]}…, the first download had {first.size_bytes} "
        f"with {first.sha256[:12]}… (where its publisher replaced it, delete {_facts_path(target)})"
    )


def _session(patience: Patience) -> requests.Session:
    retry = _Retry(
        total=None, connect=0, read=0, other=0, status=patience.tries, status_forcelist=_BUSY,
        backoff_factor=patience.backoff_s, raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _get_rest(
    session: requests.Session, weights: WeightsFile, part: Path, notes: Path, patience: Patience, quiet: bool
) -> None:
    """One request: all bytes that the part file still lacks.

    Raises:
        _Broken: the body was shorter than the server said.
    """
    have, validator = _resumable(weights, part, notes)
    headers = {"Accept-Encoding": "identity"}
    if have:
        # If-Range: a file that changed meanwhile comes whole (RFC 9110, 13.1.5).
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    timeout = (patience.connect_s, patience.stall_s)
    with session.get(weights.url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == 416:
            _remove(part, notes)
            raise _Broken("the server has no rest of this file")
        _refuse_answer(response, weights)
        if have and response.status_code == 206 and _validator(response) != validator:
            # If-Range was ignored: these are bytes of another file than the ones that are here.
            _remove(part, notes)
            raise _Broken("the server's file is another one than before")
        start, total = _extent(response, have)
        most = weights.size_bytes or total or MOST_BYTES
        if total is not None and total > most:
            raise UserError(f"{weights.url}: got {total} bytes, expected {most}; not fetched")
        if start == 0:
            notes.write_text(json.dumps({"url": weights.url, "validator": _validator(response)}))
        with (
            part.open("r+b" if start else "wb") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=weights.filename, disable=quiet or None
            ) as bar,
        ):
            file.seek(start)
            try:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    if file.tell() + len(chunk) > most:
                        raise _TooLong(most)
                    file.write(chunk)
                    bar.update(len(chunk))
            except requests.RequestException as error:  # also what requests calls a connection error here
                raise _Broken(_reason(error)) from None
            finally:
                file.truncate()
            end = file.tell()
    if total is not None and end < total:
        raise _Broken(f"the connection ended after {end} of {total} bytes")


def _resumable(weights: WeightsFile, part: Path, notes: Path) -> tuple[int, str]:
    """How many bytes are good, and the validator that proves the server still has the same file."""
    try:
        known = json.loads(notes.read_text())
        if known["url"] == weights.url and known["validator"]:
            return _size(part), known["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _validator(response: requests.Response) -> str:
    etag = response.headers.get("ETag", "")
    # Weak tags do not promise equal bytes and may not be used here.
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _extent(response: requests.Response, have: int) -> tuple[int, int | None]:
    """Where this body starts in the file, and how long the whole file is (None where the server does not say)."""
    if response.status_code == 206:
        match = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match and int(match[1]) <= have:
            return int(match[1]), None if match[2] == "*" else int(match[2])
        raise _Broken("the server answered with another range than asked for")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _refuse_answer(response: requests.Response, weights: WeightsFile) -> None:
    code = response.status_code
    if code in (404, 410):
        raise UserError(f"{weights.url}: not there any more (HTTP {code}); look for a newer version of this program")
    if code >= 400:
        raise UserError(f"{weights.url}: the server refused (HTTP {code} {response.reason}); try again later")
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise UserError(
            f"{weights.url}: sent packed with {packed[:20]}, expected the file itself; a proxy may be in between: "
            "fetch it another way and copy it into the cache folder"
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"{weights.url}: got an HTML page, expected a weights file; "
            "a proxy or log-in page may be in between: open the URL in a browser, then fetch again"
        )


def _problem_with(path: Path, weights: WeightsFile) -> str:
    """What is wrong with a finished download, or ""."""
    size = _size(path)
    if size == 0:
        return "got an empty file"
    if weights.size_bytes and size != weights.size_bytes:
        return f"got {size} bytes, expected {weights.size_bytes}"
    for name, expected in (("sha256", weights.sha256), ("md5", weights.md5_prefix)):
        if expected:
            with path.open("rb") as file:
                got = hashlib.file_digest(file, name).hexdigest()
            if not got.startswith(expected.lower()):
                return f"{name} is {got[: max(len(expected), 8)]}…, expected {expected}"
    with path.open("rb") as file:
        head = file.read(512)
    if b"<html" in head.lower() or head.lstrip().lower().startswith(b"<!doctype"):
        return "got an HTML page, expected a weights file (a proxy or log-in page may be in between)"
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        return f"the file is cut off ({size} bytes)"
    return ""


def _unreachable(weights: WeightsFile, target: Path, error: Exception) -> str:
    return (
        f"cannot fetch {weights.url} ({_reason(error)}); is this machine online? Run the same command again to go on "
        f"where it stopped, or copy the file from another machine to {target}"
    )


def _reason(error: Exception) -> str:
    """A few words for what requests wraps three deep."""
    text = str(error)
    return next((words for sign, words in _SIGNS if sign in text), " ".join(text.split())[:120])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
