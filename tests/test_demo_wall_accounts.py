"""Accounts: what the file holds, who is let in, and how often one may try."""

from __future__ import annotations

import io
import stat

import pytest

pytest.importorskip("argon2")

from demo.wall.accounts import Accounts, Attempts, main, read_accounts, remove_account, write_account
from detector.errors import UserError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "accounts.txt"
    write_account(path, "ann", "admin", "correct horse")
    write_account(path, "vic", "viewer", "battery staple")
    return path


def test_who_knows_the_password_is_let_in_and_nobody_else(file):
    accounts = Accounts(file)
    assert (accounts.check("ann", "correct horse").role, accounts.check("vic", "battery staple").role) == (
        "admin", "viewer")
    for name, password in (("ann", "battery staple"), ("ann", ""), ("vic", "correct horse"), ("eve", "correct horse")):
        assert accounts.check(name, password) is None


def test_the_file_holds_no_password_and_is_its_owners_alone(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "correct horse" not in text
    assert text.count("$argon2id$") == 2
    assert "argon2" not in repr(read_accounts(file)["ann"])
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        Accounts(file)


def test_another_password_changes_the_stamp_and_holds_at_once(file):
    accounts = Accounts(file)
    before = accounts.find("ann").stamp
    write_account(file, "ann", "viewer", "another password")
    assert accounts.find("ann").stamp != before
    assert accounts.check("ann", "correct horse") is None
    assert accounts.check("ann", "another password").role == "viewer"
    remove_account(file, "ann")
    assert accounts.find("ann") is None


@pytest.mark.parametrize(("line", "says"), [
    ("ann:owner:$argon2id$x", "viewer|admin"), ("ann:admin:plain", "HASH"), ("a b:admin:$argon2id$x", "NAME"),
    ("nothing", "NAME"),
])
def test_wrong_lines_are_named_and_hashes_are_not_repeated(tmp_path, line, says):
    path = tmp_path / "accounts.txt"
    path.write_text(f"# mine\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(UserError, match=f"accounts.txt:2: .*{says}") as told:
        Accounts(path)
    assert "argon2id$x" not in str(told.value)


@pytest.mark.parametrize(("name", "password"), [("ann", "short"), ("a:b", "long enough"), ("", "long enough")])
def test_bad_names_and_passwords_are_not_written(tmp_path, name, password):
    with pytest.raises(UserError):
        write_account(tmp_path / "a.txt", name, "admin", password)
    assert not (tmp_path / "a.txt").exists()


def test_the_command_takes_passwords_from_a_pipe_and_says_none(tmp_path, monkeypatch, capsys):
    path = tmp_path / "accounts.txt"
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    assert main([str(path), "add", "ann", "--role", "admin"]) == 0
    assert Accounts(path).check("ann", "from a pipe").role == "admin"
    assert main([str(path), "list"]) == 0
    assert main([str(path), "remove", "ann"]) == 0
    assert "from a pipe" not in capsys.readouterr().out
    with pytest.raises(UserError, match="has no account"):
        Accounts(path)


def test_after_too_many_failures_an_address_waits_and_others_do_not():
    now = [0.0]
    tries = Attempts(most_of_address=3, most_of_name=5, window_s=60.0, clock=lambda: now[0])
    for _ in range(3):
        assert tries.wait_s("a", "ann") == 0
        tries.failed("a", "ann")
        now[0] += 10
    # The oldest of the three was 30 s ago.
    assert tries.wait_s("a", "ann") == pytest.approx(30)
    assert tries.wait_s("b", "ann") == 0
    now[0] += 30.1
    assert tries.wait_s("a", "ann") == 0


def test_many_addresses_together_cannot_guess_at_one_name():
    tries = Attempts(most_of_address=3, most_of_name=5, window_s=60.0, clock=lambda: 0.0)
    for i in range(5):
        tries.failed(f"address {i}", "ann")
    assert tries.wait_s("another", "ann") == pytest.approx(60)
    assert tries.wait_s("another", "vic") == 0


def test_a_success_clears_the_address_alone():
    tries = Attempts(most_of_address=2, most_of_name=2, window_s=60.0, clock=lambda: 0.0)
    for _ in range(2):
        tries.failed("a", "ann")
    tries.succeeded("a")
    assert tries.wait_s("a", "vic") == 0
    assert tries.wait_s("a", "ann") > 0
