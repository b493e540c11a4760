"""Names of actions, and how the 1-based ids of label files become 0-based columns of scores.

A network's column j is the j-th `Action` of its `LabelMap`. For AVA column j is id j + 1; for a model that knows
only some actions, ids have gaps, so always go through the map. numpy only.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import numpy as np

from detector.errors import UserError, nearest_names

# Classes that are in most pictures need a higher score before they are shown: PySlowFast's demo asks 0.7 of these
# nine and 0.3 of the rest (SlowFast issue #761; its `demo_net` class list).
COMMON_AVA_ACTIONS = frozenset(
    {
        "watch (a person)",
        "talk to (e.g., self, a person, a group)",
        "listen to (a person)",
        "touch (an object)",
        "carry/hold (an object)",
        "walk",
        "sit",
        "lie/sleep",
        "bend/bow (at the waist)",
    }
)
# An unknown action is answered with all names of a short list, nearest first; of a long one with the nearest.
ALL_NAMED, NEAREST_NAMED = 20, 6
COMMON_THRESHOLD, RARE_THRESHOLD = 0.7, 0.3


@dataclass(frozen=True)
class Action:
    """One thing that a person can do.

    Attributes:
        id: the label file's own id (AVA: 1 to 80; others as published).
        name: the label file's own words.
        group: "pose", "object", "person" or "" where the data set has no groups.
        evaluated: counts in the data set's metric (60 of AVA's 80).
    """

    id: int
    name: str
    group: str = ""
    evaluated: bool = True

    @property
    def short_name(self) -> str:
        """The name without its examples in brackets, as an overlay shows it: `talk to`."""
        return self.name.split(" (")[0]


@dataclass(frozen=True)
class LabelMap:
    """The actions that a network's columns stand for, in order.

    Attributes:
        name: of the data set or the user's file.
        actions: A actions; column j of the scores is `actions[j]`.
    """

    name: str
    actions: tuple[Action, ...]

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, column: int) -> Action:
        return self.actions[column]

    def __iter__(self):
        return iter(self.actions)

    @cached_property
    def column_of_id(self) -> dict[int, int]:
        """Label-file id to column."""
        return {action.id: column for column, action in enumerate(self.actions)}

    def find(self, text: str) -> int:
        """Column of an action given as its id, full name, short name or (if only one has it) any part of the name.

        Raises:
            UserError: none or several actions fit; the line names the candidates.
        """
        wanted = text.strip().casefold()
        if wanted.isdigit() and int(wanted) in self.column_of_id:
            return self.column_of_id[int(wanted)]
        rules = (str.__eq__, str.__contains__)
        for rule in rules:
            hits = [
                j
                for j, a in enumerate(self.actions)
                if rule(a.name.casefold(), wanted)
                or rule(a.short_name.casefold(), wanted)
                or (rule is str.__eq__ and wanted in a.name.casefold().split("/"))
            ]
            if len(hits) == 1 and wanted:
                return hits[0]
            if len(hits) > 1:
                names = ", ".join(repr(self.actions[j].name) for j in hits[:6])
                raise UserError(f"action {text!r}: fits several of {self.name}'s actions ({names}); give one in full")
        most = len(self) if len(self) <= ALL_NAMED else NEAREST_NAMED
        near = nearest_names(wanted, (a.short_name for a in self.actions), most, fill=True)
        said = f"expected {near}" if most == len(self) else f"perhaps {near}? (--list-actions names all)"
        raise UserError(f"action {text!r}: not one of the {len(self)} actions of {self.name}; {said}")

    def subset(self, names: tuple[str, ...], name: str) -> LabelMap:
        """A map of only these actions (full names), in the order given; ids stay."""
        return LabelMap(name, tuple(self.actions[self.find(n)] for n in names))

    def default_thresholds(self) -> np.ndarray:
        """(A,) float32: the score over which an action is shown; 0.7 for common AVA actions, 0.3 for the rest."""
        return np.array(
            [COMMON_THRESHOLD if a.name in COMMON_AVA_ACTIONS else RARE_THRESHOLD for a in self.actions], np.float32
        )


def read_label_csv(text: str, name: str) -> LabelMap:
    """Read `id,name[,group[,evaluated]]` rows under a header line.

    Raises:
        UserError: no header, no rows, an id twice, or a row that does not fit; the line number is named.
    """
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "id" not in rows[0] or "name" not in rows[0]:
        raise UserError(f"label file {name}: expected a header 'id,name[,group[,evaluated]]' and one row an action")
    actions: list[Action] = []
    for number, row in enumerate(rows, start=2):
        try:
            action = Action(int(row["id"]), row["name"].strip(), row.get("group") or "", row.get("evaluated") != "0")
        except (ValueError, AttributeError, TypeError):
            raise UserError(
                f"label file {name}, line {number}: got {row}, expected a whole-number id and a name"
            ) from None
        if any(a.id == action.id for a in actions):
            raise UserError(f"label file {name}, line {number}: id {action.id} is there twice")
        actions.append(action)
    return LabelMap(name, tuple(actions))


@cache
def load_labels(name: str) -> LabelMap:
    """The bundled label map of that name: `ava`, `kinetics400`, `charades`.

    Raises:
        UserError: there is none of that name.
    """
    folder = resources.files("detector") / "label_files"
    try:
        text = (folder / f"{name}.csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(sorted(f.name[:-4] for f in folder.iterdir() if f.name.endswith(".csv")))
        raise UserError(f"labels {name!r}: unknown, expected one of {known}") from None
    return read_label_csv(text, name)
