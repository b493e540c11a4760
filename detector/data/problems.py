"""What is wrong with a data set: each finding with file and line, counted, fatal or skipped as the user says."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from detector.errors import UserError

SHOWN_OF_A_KIND = 3


@dataclass
class Problems:
    """Findings of one reading.

    Attributes:
        skip: leave out what is wrong and count it; otherwise the first finding is an error.
        counts: findings by kind.
        examples: the first few of each kind, as `file, line N: what`.
    """

    skip: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    # A file that is read twice, for its labels and for its boxes, is counted once.
    _known: set[tuple[str, str, str]] = field(default_factory=set, repr=False, compare=False)

    def add(self, kind: str, path: str | Path, line: int, what: str) -> None:
        """Note one finding.

        Args:
            kind: to count by: "bad row", "missing video".
            path, line: where it stands; line 0 where it is about the whole file.
            what: got and expected.

        Raises:
            UserError: unless findings are skipped.
        """
        place = f"{path}, line {line}" if line else str(path)
        if not self.skip:
            raise UserError(f"{place}: {what} (leave such entries out with --on-error skip)")
        if (kind, place, what) in self._known:
            return
        self._known.add((kind, place, what))
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN_OF_A_KIND:
            self.examples.setdefault(kind, []).append(f"{place}: {what}")

    def summary(self) -> str:
        """One paragraph of counts and examples; "" where nothing was wrong."""
        lines = []
        for kind, count in self.counts.items():
            lines.append(f"left out {count} x {kind}:")
            lines += [f"  {example}" for example in self.examples[kind]]
            if count > SHOWN_OF_A_KIND:
                lines.append(f"  … and {count - SHOWN_OF_A_KIND} more")
        return "\n".join(lines)

    def report(self) -> None:
        """Print the summary to standard error, if there is one."""
        if self.counts:
            print(self.summary(), file=sys.stderr)
