"""The house rules: imports point one way, importing has no side effects, heavy packages have one door each."""

from __future__ import annotations

import ast
import functools
import importlib
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
    "pyarrow",
    "ray",
}
# Imported at the top of a file, these would slow down or break every user who does not need them.
ONLY_INSIDE_FUNCTIONS = HEAVY


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(full module name, is it at module level) of each import statement in a file."""
    tree = tree_of(path)
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


@functools.cache
def arrows() -> dict[str, set[str]]:
    """The files that each file imports, lazily or not, by path below the root."""
    file_of = {}
    for _, path in ALL_FILES:
        module = path.relative_to(ROOT).with_suffix("")
        parts = module.parts[:-1] if module.name == "__init__" else module.parts
        file_of[".".join(parts)] = str(path.relative_to(ROOT))
    found: dict[str, set[str]] = {}
    for _, path in ALL_FILES:
        mine = str(path.relative_to(ROOT))
        named = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                # `from package import module` means the module where there is one.
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {name for name in inner if name in file_of} or {node.module or ""}
                if any(name not in file_of for name in inner):
                    named.add(node.module or "")
        found[mine] = {file_of[name] for name in named if name in file_of} - {mine}
    return found


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The first circle of a graph, or []."""
    done: set[str] = set()

    def visit(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node):], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            circle = visit(other, [*way, node])
            if circle:
                return circle
        done.add(node)
        return []

    return next((circle for node in sorted(graph) if (circle := visit(node, []))), [])


def test_no_file_imports_itself_in_a_circle():
    assert not circle_in(arrows())


def test_a_circle_is_seen():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


# Rooms of `detector` from the ground up: an import points to a lower floor or stays on its own.
FLOORS = (
    ("errors", "doors", "command_line", "files", "types", "labels", "sampling", "device"),
    ("views", "device_views", "to_supervision", "association", "tracking", "steady"), ("slowfast",), ("weights",),
    ("person", "data", "rendering"), ("evaluation",), ("training",), ("bundled", "skeletons"),
)


def test_rooms_of_the_detector_import_downwards():
    floor_of = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for mine, others in arrows().items():
        parts = Path(mine).with_suffix("").parts
        if parts[0] != "detector" or parts[1] == "__init__":
            continue
        for other in others:
            theirs = Path(other).with_suffix("").parts
            if len(theirs) > 1 and theirs[1] not in (parts[1], "__init__"):
                assert floor_of[theirs[1]] <= floor_of[parts[1]], f"{mine} imports {other}"


def test_the_renderer_knows_no_data_sets():
    for mine, others in arrows().items():
        if mine.startswith("detector/rendering/"):
            up = [o for o in others if o.startswith(("detector/data", "detector/training", "detector/evaluation"))]
            assert not up, f"{mine} imports {up}"


@pytest.mark.parametrize(("room", "path"), ALL_FILES, ids=IDS)
def test_optional_packages_are_imported_where_they_are_used(room, path):
    for module, at_top in imports_of(path):
        if module.split(".")[0] in ONLY_INSIDE_FUNCTIONS:
            assert not at_top, f"{path.relative_to(ROOT)} imports {module} at module level"


def test_the_types_import_without_torch():
    code = (
        "import sys, detector.types, detector.labels, detector.weights.records, detector.views, detector.sampling; "
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
    """Two of them can leave a thread's signal stack in freed memory: see detector/device.py."""
    made = [p for _, p in ALL_FILES if ".Core()" in p.read_text(encoding="utf-8")]
    assert [p.name for p in made] == ["device.py"]


DOORS = ("detector", "detector.person", "detector.slowfast", "engine_build", "stream", "stream.outputs",
         "stream.picture", "stream.sources")


@pytest.mark.parametrize("package", DOORS)
def test_every_public_name_of_a_door_is_there(package):
    door = importlib.import_module(package)
    assert door.__all__ == sorted(door.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert all(getattr(door, name) is not None for name in door.__all__)
    assert not hasattr(door, "nonsense")


def test_doors_of_the_four_packages_load_nothing_heavy():
    code = (
        "import sys, detector, engine_build, stream, stream.outputs, stream.picture, demo; "
        "sys.exit(bool({'torch', 'numpy', 'cv2', 'av', 'openvino'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_command_line_has_the_same_manners():
    """One line for a mistake, did-you-mean, --version: see detector/command_line.py."""
    bare = [p for _, p in ALL_FILES if " argparse.ArgumentParser(" in p.read_text(encoding="utf-8")]
    assert [str(p.relative_to(ROOT)) for p in bare] == []


def test_tests_for_a_gpu_need_a_bare_machine_alone():
    """They are run where torch, OpenCV and pytest are, and little else: see engine_build/gpu_day."""
    bare = {"torch", "torchvision", "numpy", "cv2", "pytest", "onnx", "onnxruntime", *ROOMS, "tests"}
    marked = [p for p in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in p.read_text(encoding="utf-8")]
    own = [p for p in marked if p.name != Path(__file__).name]
    assert own
    for path in [*own, ROOT / "tests" / "conftest.py"]:
        outside = {m.split(".")[0] for m, top in imports_of(path) if top} - bare - set(sys.stdlib_module_names)
        assert not outside, f"{path.name} imports {outside}"
