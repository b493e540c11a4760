"""The tests that need a GPU, told to fail rather than skip where they cannot see it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from detector.errors import UserError
from engine_build.gpu_day.child import Context
from engine_build.gpu_day.plan import is_there

ROOT = Path(__file__).resolve().parents[2]


def run(context: Context) -> None:
    """Run them and count.

    Raises:
        UserError: some failed, or the tests are not here.
    """
    has_tensorrt = is_there("pycuda") and (is_there("tensorrt") or is_there("tensorrt_rtx"))
    marks = ("gpu", "tensorrt") if has_tensorrt else ("gpu",)
    files = marked_files(ROOT / "tests", marks)
    if not files:
        raise UserError(f"tests: none in {ROOT / 'tests'}; run this in a copy of the repository")
    context.put("marks", list(marks))
    environment = {**os.environ, **({} if context.device == "cpu" else {"REQUIRE_GPU": "1"})}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-m", " or ".join(marks), "-p", "no:cacheprovider", "--tb=short",
                   f"--junitxml={report}", *map(str, files)]
        found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        counts, failures = read_report(report)
    context.put("counts", counts)
    context.put("failures", failures)
    context.report(", ".join(f"{count} {name}" for name, count in counts.items()) or found.stdout[-300:])
    if found.returncode not in (0, 5):  # 5: none was chosen
        for line in (found.stdout + found.stderr).strip().splitlines()[-20:]:
            context.report(line)
        raise UserError(f"tests: {counts.get('failed', 0)} failed (pytest's exit code {found.returncode})")


def marked_files(folder: Path, marks: tuple[str, ...]) -> list[Path]:
    """Test files that hold a test with one of the marks; the others need not be importable here."""
    wanted = re.compile(rf"pytest\.mark\.({'|'.join(marks)})\b")
    return [path for path in sorted(folder.glob("test_*.py")) if wanted.search(path.read_text(encoding="utf-8"))]


def read_report(path: Path) -> tuple[dict[str, int], list[str]]:
    """Numbers of tests by outcome, and names and first lines of those that failed, of pytest's XML."""
    if not path.is_file():
        return {}, []
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures = []
    for case in ElementTree.parse(path).iter("testcase"):
        outcome = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if outcome is None:
            counts["passed"] += 1
        elif outcome.tag == "skipped":
            counts["skipped"] += 1
        else:
            counts["failed"] += 1
            failures.append(f"{case.get('name')}: {(outcome.get('message') or '').splitlines()[:1]}")
    return counts, failures
