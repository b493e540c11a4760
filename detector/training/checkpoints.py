"""Files of a training run: written whole or not at all, read without running what is inside.

    last.pt     everything that a resumed run needs to go on exactly
    best.pt     the weights of the best validation
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from detector.errors import UserError
from detector.files import whole_file

FORMAT = 1


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a file so that a kill or a full disk leaves the old one whole.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with whole_file(path) as file:
            torch.save({"format": FORMAT, **content}, file)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write {path}: {error}; free space or choose another --output folder") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file that `write_checkpoint` wrote, onto the CPU.

    Raises:
        UserError: not there, not such a file, or of another version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"checkpoint {path}: not there; has this run been started?") from None
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError,
            pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"checkpoint {path}: cannot be read ({reason}); delete it to start anew") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"checkpoint {path}: got format {found}, expected {FORMAT}; was it written by this program?")
    return content


def last_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of last.pt as they are validated: averaged where the run averages.

    Raises:
        UserError: see `read_checkpoint`.
    """
    content = read_checkpoint(path)
    average = content.get("average")
    return average["values"] if average is not None else content["network"]
