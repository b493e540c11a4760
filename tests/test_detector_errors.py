"""How commands end."""

from __future__ import annotations

import pytest

from detector.errors import UserError, run_command


def raises(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "says"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (raises(UserError("camera 7: not there")), 2, "error: camera 7: not there\n"),
        (raises(KeyboardInterrupt()), 130, "stopped\n"),
    ],
)
def test_outcomes_become_exit_codes(main, code, says, capsys):
    assert run_command(main) == code
    assert capsys.readouterr().err == says


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
