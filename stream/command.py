"""`slowfast-live`: every command under one roof. `slowfast-live --help`

Each is the `python -m` command of the same module, with its own options; a first word that is no command is watched.
Commands are named here as text and imported when they are called, so that this file knows none of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from detector.command_line import PROGRAM, CommandLine
from detector.errors import UserError, nearest_names, run_command


@dataclass(frozen=True)
class Command:
    """A word of the command line.

    Attributes:
        word: that is typed.
        entry: `module:function` of `(argv, prog)`, which returns an exit code or None and raises `UserError`.
        about: one line.
    """

    word: str
    entry: str
    about: str

    def load(self) -> Callable[[list[str], str], int | None]:
        """Import the module and give its function."""
        module, _, function = self.entry.partition(":")
        return getattr(import_module(module), function)

    @property
    def installed(self) -> bool:
        """Its module is here."""
        # The spec of a module in a package would import the package; its file tells as much.
        top, *inner = self.entry.partition(":")[0].split(".")
        package = find_spec(top)
        places = package.submodule_search_locations if package and package.submodule_search_locations else []
        return any(Path(place, *inner).with_suffix(".py").is_file() for place in places)


COMMANDS = (
    Command("watch", "stream.webcam:run", "label what people do in a camera or a video; the word may be left out"),
    Command("demo", "demo.__main__:main", "the same in a browser"),
    Command("serve", "stream.serve:main", "many cameras, day and night"),
    Command("events", "stream.events.__main__:main", "rules, and what they found"),
    Command("archive", "stream.archive.__main__:main", "label a folder of videos, resumed after any failure"),
    Command("train", "detector.training.__main__:main", "train as the paper does, or on actions of your own"),
    Command("fill-boxes", "detector.training.fill_boxes:main", "find the people in clips that you labelled"),
    Command("evaluate", "detector.evaluation.__main__:main", "measure models and predictions"),
    Command("weights", "detector.weights.__main__:main", "list and fetch published weights"),
    Command("networks", "detector.slowfast.__main__:main", "the paper's networks; what a weights file holds"),
    Command("build", "engine_build.__main__:main", "make the fastest engine of this machine"),
    Command("bench", "stream.bench:run", "measure how real the real time is"),
)


def parser() -> CommandLine:
    """What `--help` shows."""
    words = "\n".join(f"  {command.word:<12}{command.about}" for command in COMMANDS if command.installed)
    return CommandLine(
        PROGRAM, usage="%(prog)s [COMMAND] [options]",
        description="Who does what, now: real-time action detection on cameras and videos.",
        epilog=f"commands:\n{words}\n\n"
        "%(prog)s                      the first camera, or the bundled clip\n"
        "%(prog)s party.mp4            a file, a camera's number or an address is watched\n"
        "%(prog)s COMMAND --help       the options of a command",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first word names; a source, an option or nothing means `watch`.

    Raises:
        UserError: the first word is neither a command nor anything that can be watched.
    """
    words = sys.argv[1:] if argv is None else argv
    first = words[0] if words else ""
    if first in ("-h", "--help", "--version", "help"):
        parser().parse_args(["--help"] if first == "help" else [first])
    try:
        return _dispatch(first, words)
    except UserError as error:
        # What is advised is said as it is called here.
        raise UserError(roofed(str(error))) from error


def roofed(text: str) -> str:
    """Text with `python -m` commands under this roof: `slowfast-live weights` for `python -m detector.weights`."""
    for command in COMMANDS:
        module = command.entry.partition(":")[0].removesuffix(".__main__")
        text = re.sub(rf"python -m {re.escape(module)}(?![\w.])", f"{PROGRAM} {command.word}", text)
    return text


def _dispatch(first: str, words: list[str]) -> int:
    command = next((c for c in COMMANDS if c.word == first and c.installed), None)
    if command is not None:
        return command.load()(words[1:], f"{PROGRAM} {command.word}") or 0
    if first and not first.startswith("-") and not may_be_source(first):
        near = nearest_names(first, [c.word for c in COMMANDS if c.installed])
        raise UserError(f"{first}: no such command or file; perhaps {near}? ({PROGRAM} --help)")
    return COMMANDS[0].load()(words, PROGRAM) or 0


def may_be_source(word: str) -> bool:
    """Whether a word looks like something to watch: a number, an address, a path, a file's name, `sample`."""
    looks = word == "sample" or word.isdigit() or word[0] == "@" or "/" in word or "\\" in word or "." in word
    return looks or Path(word).exists()


def command() -> int:
    """Entry point of the console script."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
