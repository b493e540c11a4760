"""Opening a session on the bundled model: a large engine is built in a process of its own, and told as if here."""

from __future__ import annotations

import sys

import pytest

from detector.errors import UserError
from detector.person import ssdlite_graph
from detector.types import Boxes
from detector.weights.choose import bundled_path
from engine_build.clips import drawn_clips
from stream import session as sessions
from stream.session import build_apart, open_session


@pytest.fixture
def cache(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    if bundled_path() is None or ssdlite_graph.graph_path() is None:
        pytest.skip("needs the bundled model and the person graph")
    monkeypatch.setenv("SLOWFAST_CACHE", str(tmp_path))
    monkeypatch.setattr(sessions, "BUILT_APART_PARAMETERS", 0)
    return tmp_path


def answer(report):
    """Scores of one person of a drawn clip."""
    with open_session("bundled", engine="openvino", precision="fp32", report=report) as session:
        clip = drawn_clips(session.model, (80, 80), 1)[0]
        return session.score(clip, Boxes([[10, 10, 60, 70]], [0.9])).result(120).scores


@pytest.mark.slow
@pytest.mark.ci
def test_a_large_engine_is_built_once_in_another_process(cache, monkeypatch):
    lines: list[str] = []
    scores = answer(lines.append)
    assert [line.split()[0] for line in lines] == ["building", "built", "verified:"]
    lines.clear()
    monkeypatch.setattr(sessions, "build_apart", lambda *a: pytest.fail("built again"))
    assert answer(lines.append) == pytest.approx(scores, abs=1e-5)
    assert lines == []


@pytest.mark.slow
def test_where_the_other_process_fails_this_one_builds(cache, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    lines: list[str] = []
    assert answer(lines.append).shape[0] == 1
    assert [line.split()[0] for line in lines] == ["building", "built", "verified:"]


@pytest.mark.slow
def test_the_other_process_fails_quietly(cache, capfd):
    lines: list[str] = []
    assert not build_apart("nonsense", (80, 80), "openvino", "fp32", False, lines.append)
    assert lines == []
    assert capfd.readouterr() == ("", "")


def test_a_ctrl_c_there_does_not_start_the_build_here(monkeypatch, tmp_path):
    program = tmp_path / "python"
    # A shell cannot be stopped by a signal that whoever started it ignores; this can.
    program.write_text(
        f"#!{sys.executable}\nimport os, signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(UserError, match="stopped while an engine was being built"):
        build_apart("bundled", (80, 80), "openvino", "fp32", False, lambda line: None)
