"""The packages that only a service needs, checked once before anything of it is imported."""

from __future__ import annotations

import importlib.util

from detector.errors import UserError

PACKAGES = ("pydantic", "ruamel.yaml", "prometheus_client", "fastapi", "uvicorn", "rich", "watchfiles")
INSTALL = "pip install -e '.[serve]'"


def require_serve() -> None:
    """Check that the extra `serve` is installed.

    Raises:
        UserError: it is not; the line names what is missing and the command.
    """
    missing = [name for name in PACKAGES if not _is_there(name)]
    if missing:
        raise UserError(f"the service needs {', '.join(missing)}, which is not installed; run: {INSTALL}")


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
