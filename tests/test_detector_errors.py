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


def test_what_a_terminal_cannot_show_is_no_traceback(monkeypatch):
    import io

    taken = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", taken)
    assert run_command(lambda: print("Tür caf\udce9 10³")) == 0
    taken.flush()
    assert taken.buffer.getvalue() == b"T\\xfcr caf\\udce9 10\\xb3\n"
