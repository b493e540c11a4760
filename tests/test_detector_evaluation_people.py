"""The command that scores person detectors: what it refuses, and what it hands on to the one that knows time."""

from __future__ import annotations

import subprocess

import pytest

from detector.errors import UserError
from detector.evaluation import people


@pytest.mark.parametrize(("arguments", "words"), [
    ([__file__], "expected a CSV of labelled people after the video, or --live"),
    ([__file__, __file__, "--live"], "give no labels"), ([__file__, "--live", "--calibrate"], "no --calibrate"),
    (["nowhere.avi", __file__], "nowhere.avi: no such file"),
])
def test_mistakes_are_one_line(arguments, words):
    with pytest.raises(UserError, match=words):
        people.main(arguments)


def test_live_hands_on_what_it_was_given(monkeypatch):
    commands = []

    def run(command, check):
        commands.append(command[1:])
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert people.main([__file__, "--live", "--detector", "ssdlite", "--person-threshold", "0.4"]) == 3
    assert commands == [
        ["-m", "stream.bench_boxes", __file__, "--detector", "ssdlite", "--person-threshold", "0.4"]
    ]
