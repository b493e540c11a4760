"""Are the tests of the core worth anything? Small mistakes are put into a module, one at a time; its tests must notice.

    python tests/mutate.py [ring handoff ...] [--keep]          (`make mutate`)

mutmut makes the mistakes and runs, for each, the tests among the module's own that reach it. At least 90 % have to be
noticed, and each of the rest has to stand in mutants_equivalent.txt with the reason why no test can or need notice it.
Changes of the wording of a text for people are left out: tests look for what a message must say, not for all of it.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")
PACKAGES = ("detector", "engine_build", "stream", "demo")
LEAST_NOTICED = 0.9
# Exit codes of mutmut's workers that mean: every test passed, or there was none.
SURVIVED, UNTESTED = 0, (5, 33)


def stream_tests(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/test_stream_{name}.py" for name in names)


# Each module with its own tests, by the name that is typed.
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ring": ("stream/ring.py", stream_tests("ring")),
    "handoff": ("stream/handoff.py", stream_tests("handoff")),
    "outlet": ("stream/outlet.py", stream_tests("outlet")),
    "answers": ("stream/answers.py", stream_tests("answers", "answers_edges")),
    "views": ("detector/views.py", ("tests/test_detector_views.py",)),
    "tracking": ("detector/tracking.py", ("tests/test_detector_tracking.py",)),
    "gate": ("demo/gate.py", ("tests/test_demo_gate.py", "tests/test_demo_gate_events.py")),
    "cache": ("engine_build/cache.py", ("tests/test_engine_build_cache.py",)),
    "decode": ("detector/data/decode.py", ("tests/test_detector_data_decode.py",)),
    "stream-decode": ("stream/sources/decode.py", stream_tests("sources_file", "sources_decode_keys")),
    "device": ("stream/sources/device.py", stream_tests("sources_device")),
    "reconnect": (
        "stream/sources/reconnect.py", stream_tests("sources_reconnect", "sources_live_clock", "sources_network"),
    ),
    "network": ("stream/sources/network.py", stream_tests("sources_network", "sources_rtsp")),
    "live": ("stream/live.py", stream_tests("live", "gaps", "causal")),
    "watching": ("stream/watching.py", stream_tests("live", "gaps", "causal", "presence")),
}


@dataclass(frozen=True)
class Change:
    """A small mistake: the function that it is in, and the lines as they were and became (as `ast` writes them)."""

    function: str
    was: str
    became: str

    def __str__(self) -> str:
        return f"  {self.function}\n    - {self.was}\n    + {self.became}"


@dataclass
class Result:
    """What became of a module's mutants."""

    noticed: int = 0
    equivalent: int = 0
    missed: list[Change] | None = None
    unused: list[Change] | None = None

    @property
    def mutants(self) -> int:
        return self.noticed + self.equivalent + len(self.missed or [])

    @property
    def good(self) -> bool:
        return not self.missed and self.noticed >= LEAST_NOTICED * self.mutants


def read_equivalent(text: str) -> dict[str, dict[Change, str]]:
    """Parse `mutants_equivalent.txt`: reasons by module and change.

    Raises:
        ValueError: a change without a reason, or a line that is out of place; with the line's number.
    """
    found: dict[str, dict[Change, str]] = {}
    module, function, was, became = "", "", "", ""
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or line.startswith("#"):
            continue
        if line == word:
            module = word
            found.setdefault(module, {})
        elif word.startswith("- ") or word == "-":
            was, became = word[2:], ""
        elif word.startswith("+ ") or word == "+":
            became = word[2:]
        elif word.startswith("because ") and module and function and (was or became):
            found[module][Change(function, was, became)] = word.removeprefix("because ")
            was = became = ""
        elif line.startswith("  ") and not line.startswith("    ") and not (was or became):
            function = word
        else:
            raise ValueError(f"{EQUIVALENT.name}, line {number}: got {word!r}, out of place")
    if was or became:
        raise ValueError(f"{EQUIVALENT.name}: the last change has no line that begins with 'because'")
    return found


def shown_name(mangled: str) -> tuple[str, str]:
    """Split mutmut's name of a mutant's function: ("Ring.write", "3"), or ("Ring.write", "orig")."""
    name, _, number = mangled.rpartition("__mutmut_")
    return name.removeprefix("x\N{LATIN LETTER LATERAL CLICK}").removeprefix("x_").replace(
        "\N{LATIN LETTER LATERAL CLICK}", "."
    ), number


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions that mutmut wrote into a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name:
            yield node


def without_words(node: ast.AST) -> str:
    """A function with every text of more than one word left blank."""
    copy = ast.parse(ast.unparse(node))
    for part in ast.walk(copy):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value.strip():
            part.value = ""
        if isinstance(part, ast.Constant) and isinstance(part.value, bytes) and b" " in part.value.strip():
            part.value = b""
    return ast.unparse(copy)


def read_changes(generated: str) -> dict[str, Change | None]:
    """What each mutant in a file written by mutmut changes, by its mangled name; None where it is only wording."""
    versions: dict[str, dict[str, ast.AST]] = {}
    for node in functions(ast.parse(generated)):
        mangled, (name, number) = node.name, shown_name(node.name)
        node.name, node.decorator_list = name.rpartition(".")[2], []
        versions.setdefault(name, {})[number] = node
        node.mangled = mangled  # type: ignore[union-attr]
    changes: dict[str, Change | None] = {}
    for name, nodes in versions.items():
        before = nodes.pop("orig")
        lines, wordless = ast.unparse(before).splitlines(), without_words(before)
        for node in nodes.values():
            difference = list(difflib.ndiff(lines, ast.unparse(node).splitlines()))
            was, became = (
                " / ".join(line[2:].strip() for line in difference if line.startswith(sign)) for sign in ("- ", "+ ")
            )
            only_words = without_words(node) == wordless
            changes[node.mangled] = None if only_words else Change(name, was, became)  # type: ignore[attr-defined]
    return changes


def judge(codes: dict[str, int | None], changes: dict[str, Change | None], known: dict[Change, str]) -> Result:
    """Compare mutmut's exit codes with the mutants that are known to be equivalent."""
    result, seen = Result(missed=[], unused=[]), set()
    for name, code in codes.items():
        change = changes[name.rpartition(".")[2]]
        if change is None:
            continue
        if code != SURVIVED and code not in UNTESTED and code is not None:
            result.noticed += 1
        elif change in known:
            result.equivalent += 1
            seen.add(change)
        else:
            result.missed.append(change)  # type: ignore[union-attr]
    there = set(changes.values())
    result.unused = [change for change in known if change not in there]
    return result


def settings(module: str, tests: tuple[str, ...]) -> str:
    """mutmut's part of a setup.cfg."""
    chosen = "".join(f"\n    {test}" for test in tests)
    packages = "".join(f"\n    {package}" for package in PACKAGES)
    # Engines and torch do not survive a fork once they have run: workers come from a process that imported them only.
    return (
        f"\n[mutmut]\nsource_paths ={packages}\nonly_mutate = {module}\n"
        f"pytest_add_cli_args_test_selection ={chosen}\n"
        "pytest_add_cli_args =\n    -p\n    no:cacheprovider\n    --timeout=60\n"
        "process_isolation = forkserver\ntimeout_multiplier = 5.0\ntimeout_constant = 4.0\n"
        "use_git_change_detection = false\n"
    )


def run(name: str, folder: Path, known: dict[Change, str]) -> Result:
    """Mutate one module in a copy of the project.

    Raises:
        RuntimeError: mutmut failed, as it does where the tests fail without any mistake.
    """
    module, tests = TARGETS[name]
    # It has to be there when Python starts: a folder on its path that is not is never looked at again.
    (folder / "mutants").mkdir()
    for part in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "Makefile"):
        shutil.copy(ROOT / part, folder / part)
    (folder / "setup.cfg").write_text((ROOT / "setup.cfg").read_text() + settings(module, tests))
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **one_thread, "PYTHONPATH": str(folder / "mutants")}
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1"]
    with (folder / "mutmut.log").open("w") as log:
        code = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
    generated = folder / "mutants" / module
    meta = generated.with_suffix(".py.meta")
    codes = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}
    if code or not codes or None in codes.values():
        last = "\n".join((folder / "mutmut.log").read_text(errors="replace").splitlines()[-30:])
        raise RuntimeError(f"{module}: mutmut ended with {code} before all was tried:\n{last}")
    return judge(codes, read_changes(generated.read_text()), known)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[*TARGETS, []], metavar="MODULE", help=", ".join(TARGETS))
    parser.add_argument("--keep", action="store_true", help="keep mutmut's folders (build/mutate), to look into")
    options = parser.parse_args(arguments)
    known = read_equivalent(EQUIVALENT.read_text())
    good = True
    print(f"{'module':34} {'mutants':>7} {'noticed':>7} {'share':>6} {'equivalent':>10} {'missed':>6}")
    for name in options.modules or TARGETS:
        module = TARGETS[name][0]
        kept = ROOT / "build" / "mutate" / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        try:
            result = run(name, kept, known.get(module, {}))
        finally:
            if not options.keep:
                shutil.rmtree(kept, ignore_errors=True)
        share = result.noticed / max(result.mutants, 1)
        missed, unused = result.missed or [], result.unused or []
        print(f"{module:34} {result.mutants:7} {result.noticed:7} {share:6.1%} {result.equivalent:10} {len(missed):6}",
              flush=True)
        for change in missed:
            print(change, flush=True)
        for change in unused:
            print(f"  {EQUIVALENT.name} names a change that cannot be made any more:\n{change}")
        good = good and result.good and not unused
    print("good" if good else f"not good: expected {LEAST_NOTICED:.0%} noticed and the rest in {EQUIVALENT.name}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
