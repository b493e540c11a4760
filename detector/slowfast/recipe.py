"""PySlowFast's configuration, which it stores beside the weights as YAML text: the few values that tensors cannot tell.

Read with patterns rather than a YAML library: the text is always PySlowFast's own dump, of sections with indented keys.
"""

from __future__ import annotations

import re


class Recipe:
    """Single values of PySlowFast's configuration, a YAML text of sections with indented keys."""

    def __init__(self, text: str) -> None:
        self.text = text

    def word(self, section: str, key: str) -> str:
        """The value in lower case, "" where there is none."""
        body = re.search(rf"^{section}:\s*\n((?:[ \t].*\n?|\n)*)", self.text, re.MULTILINE)
        found = re.search(rf"^[ \t]+{key}:[ \t]*(\S+)", body[1], re.MULTILINE) if body else None
        return found[1].strip("'\"").lower() if found else ""

    def number(self, section: str, key: str) -> int | None:
        """The value as a whole number, None where there is none."""
        word = self.word(section, key)
        return int(word) if word.isdigit() else None

    def nonlocal_pool(self) -> tuple[int, ...] | None:
        """Max-pooling (T, H, W) of the non-local blocks in the slow pathway's res4, None where it is not written."""
        body = re.search(r"^NONLOCAL:\s*\n((?:[ \t].*\n?)*)", self.text, re.MULTILINE)
        pools = re.search(r"^[ \t]+POOL:[ \t]*\n?((?:.*\n?)*)", body[1], re.MULTILINE) if body else None
        numbers = [int(n) for n in re.findall(r"\d+", pools[1])] if pools else []
        # Four stages, one or two pathways each, three numbers a pathway; res4 is the third stage, slow comes first.
        return tuple(numbers[len(numbers) // 2 :][:3]) if len(numbers) in (12, 24) else None
