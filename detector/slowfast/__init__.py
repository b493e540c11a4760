"""The network of "SlowFast Networks for Video Recognition" (Feichtenhofer, Fan, Malik, He; ICCV 2019).

`SlowFastConfig` is plain numbers; what needs torch is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from detector.slowfast.config import SlowFastConfig

if TYPE_CHECKING:
    from detector.slowfast.checkpoints import load_network, save_state
    from detector.slowfast.network import ActionNetwork, create_network

__all__ = ["ActionNetwork", "SlowFastConfig", "create_network", "load_network", "save_state"]

_MODULE_OF = {
    "ActionNetwork": "detector.slowfast.network",
    "create_network": "detector.slowfast.network",
    "load_network": "detector.slowfast.checkpoints",
    "save_state": "detector.slowfast.checkpoints",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
