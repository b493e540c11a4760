"""What a user's mistake looks like: one line (what, got, expected, what to run) and exit code 2."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake that the person at the keyboard can mend; its text is one line that says how."""


def nearest_names(name: str, known: Iterable[str], most: int = 3, *, fill: bool = False) -> str:
    """The known names most like a wrong one, for an error's line: `a, b or c`; the first ones where none is like it.

    Args:
        name: what was typed.
        known: at least one.
        most: how many to name.
        fill: name so many even where fewer are like it.
    """
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, most, cutoff=0.3)
    if fill or not near:
        near = [*near, *(other for other in names if other not in near)][:most]
    return near[0] if len(near) == 1 else f"{', '.join(near[:-1])} or {near[-1]}"


def perhaps(name: str, known: Iterable[str]) -> str:
    """`; perhaps walk?` for an error's line where one of the known names is like a wrong one, else nothing."""
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.5)
    return f"; perhaps {near[0]}?" if near else ""


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command-line entry point and turn its outcome into an exit code.

    Args:
        main: the command; returns an exit code, or None for success.

    Returns:
        The command's code; 2 after a `UserError` (its one line goes to standard error);
        130 after Ctrl-C, as shells expect; 141 when whoever reads standard output has gone.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show, on one that knows ASCII only, is shown by its codes.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
