"""Packages that a bare machine with a GPU may lack, brought along as wheels.

`python -m engine_build.gpu_day.wheels FOLDER` fetches them, for Python 3.12 on Linux, where there is a network. Where
there is none, `unpack` puts those that are missing beside `sys.path`: a wheel is a zip file, pip is not needed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from detector.errors import UserError, run_command
from engine_build.gpu_day.plan import is_there

FOLDER = Path(".wheels")
LIMIT_MIB = 64.0
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64",
             "manylinux1_x86_64")
# What is imported → what is fetched. Their own needs are in the list too, torch's are there.
BINARY = {
    "av": "av>=14", "platformdirs": "platformdirs", "tqdm": "tqdm", "requests": "requests", "urllib3": "urllib3",
    "certifi": "certifi", "idna": "idna", "charset_normalizer": "charset-normalizer",
    "supervision": "supervision", "pydeprecate": "pydeprecate", "defusedxml": "defusedxml", "yaml": "pyyaml",
    "yacs": "yacs", "tabulate": "tabulate", "termcolor": "termcolor", "portalocker": "portalocker",
    "parameterized": "parameterized", "onnxslim": "onnxslim", "rich": "rich",
}
# Pure Python that is published as source alone; pytorchvideo is the yardstick.
SOURCE = {"pytorchvideo": "pytorchvideo>=0.1.5", "fvcore": "fvcore>=0.1.5", "iopath": "iopath"}
_NAME = re.compile(r"(?P<name>[^-]+)-[^-]+(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl")


def fetch(folder: Path, report: Callable[[str], object] = print) -> float:
    """Fetch the wheels into a folder.

    Returns:
        Their size in MiB.

    Raises:
        UserError: pip failed, or they are larger than `LIMIT_MIB`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    _pip([*pip, "download", "--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp",
          *platforms, "--dest", str(folder), *BINARY.values()])
    _pip([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), *SOURCE.values()])
    wheels = sorted(folder.glob("*.whl"), key=lambda path: -path.stat().st_size)
    size = sum(path.stat().st_size for path in wheels) / 2**20
    for path in wheels[:5]:
        report(f"{path.stat().st_size / 2**20:6.1f} MiB  {path.name}")
    report(f"{size:6.1f} MiB in {len(wheels)} wheels in {folder} (limit {LIMIT_MIB:.0f})")
    if size > LIMIT_MIB:
        raise UserError(f"wheels: {size:.1f} MiB in {folder}, expected at most {LIMIT_MIB:.0f}")
    return size


def unpack(folder: Path, site: Path, there: Callable[[str], bool] = is_there) -> list[str]:
    """Unpack what is missing here into `site`, which is to be appended to the path.

    Args:
        folder: of wheels; may not exist.
        site: is made.
        there: whether a package can be imported already.

    Returns:
        Names of what was unpacked.
    """
    packages = {_plain(name): module for module, need in (BINARY | SOURCE).items() for name in [_distribution(need)]}
    unpacked = []
    for path in sorted(folder.glob("*.whl")) if folder.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        module = packages.get(_plain(match["name"])) if match else None
        if match is None or module is None or there(module) or not fits(match["python"], match["abi"]):
            continue
        site.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(site)
        unpacked.append(module)
    return unpacked


def fits(python: str, abi: str, version: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Whether a wheel's tags fit a Python: py3-none, this CPython's own, or the stable ABI of an older one."""
    if abi == "none":
        return any(tag.startswith("py3") or tag == f"cp{version[0]}{version[1]}" for tag in python.split("."))
    numbers = [(int(tag[2]), int(tag[3:])) for tag in python.split(".") if re.fullmatch(r"cp3\d+", tag)]
    return version in numbers if abi != "abi3" else any(number <= version for number in numbers)


def _distribution(need: str) -> str:
    return re.split(r"[<>=!~]", need)[0]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(command: list[str]) -> None:
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        lines = [line for line in found.stderr.splitlines() if line.startswith("ERROR")] or ["nothing said"]
        raise UserError(f"wheels: pip failed: {lines[-1]}")


def main() -> int:
    """Fetch into the folder given."""
    fetch(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
