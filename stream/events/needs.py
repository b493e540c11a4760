"""What must be installed before anything here can be imported."""

from __future__ import annotations

from detector.errors import UserError


def check_packages() -> None:
    """
    Raises:
        UserError: what files of rules are read with is not installed; the line says how to get it.
    """
    try:
        import pydantic  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"events: {error.name} is not installed, expected it; run: pip install 'slowfast-live[events]'"
        ) from None
