"""Outputs of one run: opened late, closed all, and told of only when they are whole."""

import pytest

from detector.errors import UserError
from stream.outputs.together import AtFirst, Outputs


class Sink:
    """Takes what it is given and fails when it is told to."""

    def __init__(self, path: str, fails_at: str = "") -> None:
        self.path, self.fails_at = path, fails_at
        self.got: list[object] = []
        self.closed = 0

    def write(self, *what: object) -> None:
        if self.fails_at == "write" and self.got:
            raise UserError(f"{self.path}: full")
        self.got.append(what)

    def close(self, **how: object) -> None:
        self.closed += 1
        if self.fails_at == "close":
            raise UserError(f"{self.path}: no room at the end")


def outputs(*sinks: Sink, film: Sink | None = None) -> Outputs:
    def refuse() -> Sink:
        raise UserError("cannot be opened")

    made = [AtFirst(sink.path, (lambda s=sink: s) if sink.fails_at != "open" else refuse) for sink in sinks]
    return Outputs(made, AtFirst("asked.mp4", lambda: film) if film else None)


def test_what_was_never_written_is_neither_opened_nor_told():
    sink = Sink("a")
    all_of_them = outputs(sink)
    all_of_them.close()
    assert (sink.closed, all_of_them.told()) == (0, [])


def test_whole_files_are_told_by_the_names_they_got():
    text, film = Sink("a.jsonl"), Sink("asked-2.mp4")
    all_of_them = outputs(text, Sink("-"), film=film)
    all_of_them.write("answer")
    all_of_them.film.write("picture", 0.5)
    assert all_of_them.told() == []  # not before they are closed
    all_of_them.close(in_a_hurry=True)
    all_of_them.close()
    assert (text.got, film.got) == ([("answer",)], [("picture", 0.5)])
    assert (text.closed, film.closed) == (1, 1)
    assert all_of_them.told() == ["wrote a.jsonl", "wrote asked-2.mp4"]


@pytest.mark.parametrize("fails_at", ["write", "close"])
def test_what_failed_is_not_called_written_and_the_others_are_closed(fails_at):
    bad, good = Sink("bad", fails_at), Sink("good")
    all_of_them = outputs(good, bad)
    all_of_them.write(1)
    if fails_at == "write":
        with pytest.raises(UserError, match="bad: full"):
            all_of_them.write(2)
        all_of_them.close()
    else:
        with pytest.raises(UserError, match="bad: no room"):
            all_of_them.close()
    assert (bad.closed, good.closed) == (1, 1)
    assert all_of_them.told() == ["wrote good"]


def test_an_output_that_cannot_be_opened_is_not_called_written():
    all_of_them = outputs(Sink("bad", "open"))
    with pytest.raises(UserError, match="cannot be opened"):
        all_of_them.write(1)
    all_of_them.close()
    assert all_of_them.told() == []
