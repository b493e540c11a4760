"""What every command line of this project shares: one line for a mistake, the nearest name, `--version`.

`CommandLine` is argparse with other manners. It knows no command and imports nothing heavy.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from detector import __version__
from detector.errors import UserError, perhaps

PROGRAM = "slowfast-live"


class CommandLine(argparse.ArgumentParser):
    """A parser whose mistakes are one line: what was typed, what is expected, what was perhaps meant.

    Options are written in full; of a shortened or misspelt one the line names the nearest. Every command has
    `--version`.
    """

    def __init__(self, prog: str | None = None, *, width: int | None = None, **more: Any) -> None:
        """
        Args:
            prog: how the command is called, for help and errors.
            width: columns of the help; the terminal's unless given.
            more: as of `argparse.ArgumentParser`. Text keeps its line breaks; `%(prog)s` in it is `prog`.
        """
        def form(prog: str) -> argparse.HelpFormatter:
            return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=width)

        more.setdefault("formatter_class", form)
        super().__init__(prog, allow_abbrev=False, **{**more, "add_help": False})
        self.register("type", int, _whole)
        self.register("type", float, _number)
        if more.get("add_help", True):
            self.add_help_and_version(self)

    def add_help_and_version(self, group: Any) -> None:
        """Add `-h` and `--version` to a group of options; for parsers made with `add_help=False`."""
        group.add_argument("-h", "--help", action="help", help="show this and exit")
        group.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}", help="show it and exit")

    def accept_former(self, action: argparse.Action, *names: str) -> None:
        """Take former spellings of an option too; help and errors show the present one."""
        for name in names:
            self._option_string_actions[name] = action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; unknown options are told before what is missing, since one often explains the other."""
        words = sys.argv[1:] if args is None else [str(word) for word in args]
        self._refuse_unknown_options(words)
        return super().parse_known_args(words, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse.

        Raises:
            UserError: anything typed wrong.
        """
        found, extra = self.parse_known_args(args, namespace)
        if extra:
            options = [word for word in extra if word.startswith("-") and word != "-"]
            self.error(self._unknown(options[0]) if options else f"{extra[0]}: one word too many")
        return found

    def error(self, message: str) -> NoReturn:
        """Raise the mistake as a `UserError`; argparse's own wording is put in the project's form.

        Raises:
            UserError: always.
        """
        text = message.removeprefix("argument ").replace(": expected one argument", ": expected a value after it")
        missing = "the following arguments are required: "
        if text.startswith(missing):
            text = f"missing: {text.removeprefix(missing)}"
        raise UserError(f"{text} ({self.prog} --help)")

    def _refuse_unknown_options(self, words: Sequence[str]) -> None:
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return  # what follows a command's name is that command's
            name = word.split("=", 1)[0]
            # `-output` would be read as `-o utput`, or `-help` as `-h elp`.
            one_dash = len(name) > 2 and name[0] == "-" != name[1] and f"-{name}" in self._option_string_actions
            if one_dash or (name.startswith("--") and name not in self._option_string_actions):
                self.error(self._unknown(f"-{name}" if one_dash else name).replace(f"-{name}:", f"{name}:", 1))

    def _unknown(self, option: str) -> str:
        shown = [
            name[2:] for action in self._actions for name in action.option_strings
            if action.help is not argparse.SUPPRESS and name.startswith("--")
        ]
        word = option.lstrip("-")
        near = [name for name in shown if name.startswith(word)] or difflib.get_close_matches(word, shown, 1, 0.6)
        return f"{option}: unknown option" + (f"; perhaps {one_of(f'--{name}' for name in near)}?" if near else "")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Of a wrong choice the nearest right ones are named."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            near = perhaps(str(value), known)
            raise argparse.ArgumentError(None, f"{value}: no such command, expected {one_of(known)}{near}")
        raise argparse.ArgumentError(action, f"got {value!r}, expected {one_of(known)}{perhaps(str(value), known)}")


def one_of(names: Iterable[str]) -> str:
    """`a, b or c`."""
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def check_share(option: str, value: float | None) -> None:
    """Refuse a number outside 0..1.

    Raises:
        UserError: it is, or it is no number.
    """
    if value is not None and not 0 <= value <= 1:
        raise UserError(f"{option}: got {value:g}, expected 0 to 1")


def check_file_to_write(option: str, path: str | Path | None, suffixes: Sequence[str] = ()) -> None:
    """Refuse a name that cannot become a file, before the work whose result it shall hold.

    Args:
        option: that named it.
        path: of the file; None and `-` are fine.
        suffixes: what its name has to end in, if anything.

    Raises:
        UserError: another ending, a folder, or more than the last folder of the path is missing.
    """
    if path is None or str(path) == "-":
        return
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        ending = f"ending in {path.suffix!r}" if path.suffix else "without an ending"
        raise UserError(f"{option} {path}: got a name {ending}, expected {one_of(suffixes)}")
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder, expected a file's name")
    check_folder_to_make(option, path.parent)
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{option} {path}: this user may not write to it; give another path")
    check_folder_is_writable(option, path.parent)


def check_folder_to_make(option: str, folder: Path) -> None:
    """Refuse a folder that is not there and whose own folder is not there either.

    A slip in a path would otherwise grow a tree somewhere; only the last folder is made.

    Raises:
        UserError: as said; or something in its place is no folder.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise UserError(f"{option}: {folder} is no folder")
    if not folder.parent.is_dir():
        raise UserError(
            f"{option}: there is no folder {folder.parent} to make {folder.name} in; make it, or mend the path"
        )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number") from None


def check_folder_is_writable(option: str, folder: Path) -> None:
    """Refuse a folder, or where it is missing the one that it would be made in, that this user may not write to.

    Raises:
        UserError: as said.
    """
    there = folder if folder.exists() else folder.parent
    if not os.access(there, os.W_OK):
        raise UserError(f"{option}: this user may not write to {there}; give another path")
