"""The books of an archive: which videos are done, with what result. A record appears whole, after all that it is of."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from detector.files import readable_name, write_whole
from stream.outputs.names import LONGEST_NAME_BYTES, with_ending

# Raise it when what is written of a video changes.
VERSION = 1
# Folder and ending of each kind of result.
KINDS = {"answers": ".jsonl", "ava": ".csv", "rows": ".parquet", "events": ".jsonl"}


class Books:
    """The records below an output folder."""

    def __init__(self, output: str | Path) -> None:
        self.output = Path(output)
        self._done = self.output / "done"

    def result_path(self, kind: str, name: str) -> Path:
        """Where a video's results of a kind are kept."""
        path = self.output / kind / f"{name}{KINDS[kind]}"
        if len(os.fsencode(path.name)) <= LONGEST_NAME_BYTES:
            return path
        # Cut, and told apart by a hash.
        mark = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
        return with_ending(path, f"-{mark}{KINDS[kind]}", stem=path.name)

    def find(self, key: str) -> dict[str, Any] | None:
        """A video's record, where it is whole and its results are there as they were written; else None."""
        try:
            record = json.loads((self._done / f"{key}.json").read_text(encoding="utf-8"))
            if record["version"] != VERSION:
                return None
            if "bad" in record:
                return record
            for kind, size in record["files"].items():
                if self.result_path(kind, record["name"]).stat().st_size != size:
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record

    def settle(self, key: str, record: dict[str, Any], made: dict[str, Path]) -> dict[str, Any]:
        """Put a video's results in their places and note that it is done.

        Args:
            key: of the video.
            record: to keep; `version`, `name` and `files` are added or must be there.
            made: complete results by kind, on the same disk; they are moved.

        Raises:
            OSError: the disk is full, or the like.
        """
        sizes = {}
        for kind, path in made.items():
            target = self.result_path(kind, record["name"])
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            sizes[kind] = path.stat().st_size
            os.replace(path, target)
        record = {"version": VERSION, **record, "files": sizes}
        self._done.mkdir(parents=True, exist_ok=True)
        write_whole(self._done / f"{key}.json", json.dumps(record))
        return record

    def write_bad(self, bad: list[tuple[str, str]]) -> None:
        """Write `bad.csv` anew: name and reason."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["video", "reason"])
        writer.writerows([readable_name(name), readable_name(reason)] for name, reason in bad)
        write_whole(self.output / "bad.csv", text.getvalue())
