"""The house rules: imports point one way, importing has no side effects, heavy packages have one door each."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("detector", "engine_build", "stream", "demo")
ALLOWED = {
    "detector": {"detector"},
    "engine_build": {"engine_build", "detector"},
    "stream": {"stream", "engine_build", "detector"},
    "demo": {"demo", "stream", "engine_build", "detector"},
}
HEAVY = {
    "detectron2",
    "tensorrt",
    "tensorrt_rtx",
    "pycuda",
    "openvino",
    "nncf",
    "gradio",
    "aiortc",
    "onnx",
    "onnxruntime",
    "sqlalchemy",
    "alembic",
    "paho",
    "apprise",
    "psycopg",
}
# Imported at the top of a file, these would slow down or break every user who does not need them.
ONLY_INSIDE_FUNCTIONS = HEAVY


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(full module name, is it at module level) of each import statement in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top_level = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top_level) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            found.append((node.module or "", id(node) in top_level))
    return found


ALL_FILES = [(room, path) for room in ROOMS for path in python_files(room)]
IDS = [str(path.relative_to(ROOT)) for _, path in ALL_FILES]


@pytest.mark.parametrize(("room", "path"), ALL_FILES, ids=IDS)
def test_imports_point_along_the_arrows(room, path):
    for module, _ in imports_of(path):
        top = module.split(".")[0]
        if top in ROOMS or top == "tests":
            assert top in ALLOWED[room], f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize(("room", "path"), ALL_FILES, ids=IDS)
def test_optional_packages_are_imported_where_they_are_used(room, path):
    for module, at_top in imports_of(path):
        if module.split(".")[0] in ONLY_INSIDE_FUNCTIONS:
            assert not at_top, f"{path.relative_to(ROOT)} imports {module} at module level"


def test_the_types_import_without_torch():
    code = (
        "import sys, detector.types, detector.labels, detector.models, detector.views, detector.sampling; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_module_is_called_utils():
    assert not [p for _, p in ALL_FILES if p.stem in {"utils", "helpers", "common", "misc"}]


def test_every_package_is_listed_in_setup_cfg():
    listed = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    packages = {".".join(p.parent.relative_to(ROOT).parts) for _, p in ALL_FILES if p.name == "__init__.py"}
    section = listed.split("packages =")[1].split("install_requires")[0].split()
    assert packages == set(section)


def test_openvino_has_one_core_for_the_process():
    """Two of them can leave a thread's signal stack in freed memory: see detector/openvino_core.py."""
    made = [p for _, p in ALL_FILES if ".Core()" in p.read_text(encoding="utf-8")]
    assert [p.name for p in made] == ["openvino_core.py"]
