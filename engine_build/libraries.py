"""Optional libraries: whether they are here, and the line that installs them. Nothing heavy is imported to look."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from detector.device import openvino_core
from detector.errors import UserError

# What a person types to get a library that is missing.
INSTALL = {
    "openvino": "pip install openvino",
    "nncf": "pip install nncf onnx onnxslim",
    "onnx": "pip install onnx onnxslim",
    "onnxslim": "pip install onnx onnxslim",
    "onnxruntime": "pip install onnxruntime",
    "tensorrt": "pip install tensorrt pycuda",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13 pycuda",
    "pycuda": "pip install pycuda",
}


def require(library: str) -> Any:
    """Import an optional library, or a module of it (`pycuda.driver`).

    Raises:
        UserError: it is missing, or its own libraries are; with the exact line that installs it.
    """
    package = library.split(".")[0]
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise UserError(f"{package}: needs {error.name}, which is missing; run: {INSTALL[package]}") from None
        raise UserError(f"{package} is not installed; run: {INSTALL[package]}") from None
    except (ImportError, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{package} does not load ({first_line}); run: {INSTALL[package]}") from None


def has(library: str) -> bool:
    """Whether a library is installed, without importing it."""
    return importlib.util.find_spec(library) is not None


def cpu_core() -> Any:
    """OpenVINO's core (see `detector.device`).

    Raises:
        UserError: as `require`.
    """
    require("openvino")
    return openvino_core()
