"""Who may see the wall: a file of names, roles and password hashes. The one door to argon2.

    python -m demo.wall.accounts accounts.txt add ann --role admin

asks for a password and writes the line `ann:admin:$argon2id$…`. A file that others can read is refused.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detector.command_line import CommandLine
from detector.errors import UserError, run_command

ROLES = ("viewer", "admin")
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
LEAST_LETTERS, MOST_LETTERS = 8, 256
INSTALL = "pip install 'slowfast-live[demo]'"


@dataclass(frozen=True)
class Account:
    """Somebody who may log in; `stamp` changes with the password, so that older sessions end."""

    name: str
    role: str
    hash: str = field(repr=False)

    @property
    def stamp(self) -> str:
        """Of the password."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]


class Accounts:
    """The accounts of a file; read again when the file changes."""

    def __init__(self, path: str | Path) -> None:
        """
        Raises:
            UserError: it cannot be read, others can read it, or a line is wrong.
        """
        self._path, self._hasher = Path(path), _hasher()
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Account] = {}
        # Each check takes tens of MB and of ms: one at a time, so that many logins do not fill the memory.
        self._checking = threading.Lock()
        self._nobody = self._hasher.hash(secrets.token_hex(16))
        self._read()
        if not self._known:
            raise UserError(f"{path}: has no account; run: python -m demo.wall.accounts {path} add NAME --role admin")

    def find(self, name: str) -> Account | None:
        """The account of that name."""
        self._read_again()
        return self._known.get(name)

    def check(self, name: str, password: str) -> Account | None:
        """The account if the password is its own; takes as long where there is no such account."""
        account = self.find(name)
        with self._checking:
            fits = _fits(self._hasher, account.hash if account else self._nobody, password[:MOST_LETTERS])
        return account if fits and account is not None else None

    def _read_again(self) -> None:
        try:
            self._read()
        except UserError:
            # A file that is being written: those who were known still are.
            return

    def _read(self) -> None:
        about = _own_file(self._path)
        stamp = (about.st_mtime_ns, about.st_ino)
        if stamp != self._stamp:
            self._known = read_accounts(self._path)
            self._stamp = stamp


@dataclass
class Attempts:
    """How often logins failed lately, by address and by name. Pure: takes a clock.

    Attributes:
        most_of_address, most_of_name: failures within `window_s` after which no more are tried.
    """

    most_of_address: int = 8
    most_of_name: int = 25
    window_s: float = 300.0
    clock: Callable[[], float] = time.monotonic
    _failed: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def wait_s(self, address: str, name: str) -> float:
        """Seconds until another may be tried; 0 for now."""
        return max(self._wait("address", address, self.most_of_address), self._wait("name", name, self.most_of_name))

    def failed(self, address: str, name: str) -> None:
        """One more has failed."""
        now_s = self.clock()
        for key in (("address", address), ("name", name)):
            self._failed[key] = [*self._recent(key), now_s]
        if len(self._failed) > 5000:
            self._failed = {key: times for key in self._failed if (times := self._recent(key))}

    def succeeded(self, address: str) -> None:
        """The address knows a password."""
        self._failed.pop(("address", address), None)

    def _wait(self, what: str, value: str, most: int) -> float:
        times = self._recent((what, value))
        return 0.0 if len(times) < most else max(times[-most] + self.window_s - self.clock(), 0.0)

    def _recent(self, key: tuple[str, str]) -> list[float]:
        oldest_s = self.clock() - self.window_s
        return [at_s for at_s in self._failed.get(key, ()) if at_s > oldest_s]


def read_accounts(path: Path) -> dict[str, Account]:
    """The accounts of a file, by name.

    Raises:
        UserError: it cannot be read, or a line is wrong; hashes are not repeated.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    found: dict[str, Account] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, role, kept = [*line.strip().split(":", 2), "", ""][:3]
        if not NAME.fullmatch(name) or role not in ROLES or not kept.startswith("$argon2"):
            raise UserError(f"{path}:{number}: expected NAME:{'|'.join(ROLES)}:HASH as the command add writes it")
        found[name] = Account(name, role, kept)
    return found


def write_account(path: Path, name: str, role: str, password: str) -> None:
    """Add an account or give it another password or role; the file is readable by its owner alone.

    Raises:
        UserError: a bad name or password, or the file cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r}: expected a name of letters, digits and . _ @ -")
    if not LEAST_LETTERS <= len(password) <= MOST_LETTERS:
        raise UserError(f"the password has {len(password)} letters, expected {LEAST_LETTERS} to {MOST_LETTERS}")
    known = read_accounts(path) if path.exists() else {}
    known[name] = Account(name, role, _hasher().hash(password))
    _write(path, known)


def remove_account(path: Path, name: str) -> None:
    """Take an account out.

    Raises:
        UserError: there is none of that name.
    """
    known = read_accounts(path)
    if known.pop(name, None) is None:
        raise UserError(f"{path}: has no account {name!r}")
    _write(path, known)


def _write(path: Path, accounts: dict[str, Account]) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.writelines(f"{a.name}:{a.role}:{a.hash}\n" for a in accounts.values())
        new.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _own_file(path: Path) -> os.stat_result:
    try:
        about = path.stat()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); run: python -m demo.wall.accounts {path} add NAME --role admin"
        ) from None
    if stat.S_IMODE(about.st_mode) & 0o077:
        raise UserError(f"{path}: others can read it; run: chmod 600 {path}")
    return about


def _hasher() -> Any:
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise UserError(f"accounts need argon2-cffi; run: {INSTALL}") from None
    return PasswordHasher()


def _fits(hasher: Any, kept: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return bool(hasher.verify(kept, password))
    except (Argon2Error, InvalidHashError):
        return False


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    cli = CommandLine("python -m demo.wall.accounts", description="Who may log in to the page of all cameras.")
    cli.add_argument("file", metavar="FILE", help="of accounts; made where it is missing")
    cli.add_argument("what", choices=("add", "remove", "list"), help="add also gives another password or role")
    cli.add_argument("name", nargs="?", metavar="NAME")
    cli.add_argument("--role", choices=ROLES, default="viewer", help="viewers see, admins change (viewer)")
    args = cli.parse_args(argv)
    path = Path(args.file)
    if args.what == "list":
        for account in read_accounts(path).values():
            print(account.name, account.role)
        return 0
    if not args.name:
        raise UserError(f"{args.what}: expected a NAME")
    if args.what == "remove":
        remove_account(path, args.name)
    else:
        # Read from a pipe where there is one, so that programs can set it; never from the command line.
        given = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        write_account(path, args.name, args.role, given)
    print(f"{path}: {args.name} {'removed' if args.what == 'remove' else f'is {args.role}'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
