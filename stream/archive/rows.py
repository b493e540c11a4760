"""Answers as Parquet: a row a person and key frame. The one door to pyarrow; columns: see the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from detector.errors import UserError
from detector.files import readable_name
from detector.weights.records import ActionModel
from stream.results import KeyFrameResult

SCHEMA = 1
INSTALL = "pip install pyarrow"
ROWS_AT_ONCE = 20_000


def require_pyarrow() -> Any:
    """Import pyarrow.

    Raises:
        UserError: it is missing; with the line that installs it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"archive: pyarrow, which writes Parquet, is not installed; run: {INSTALL}") from None
    return pyarrow


class RowsFile:
    """A Parquet file that is being written."""

    def __init__(
        self, path: Path, video: str, model: ActionModel, untrained: bool, thresholds: np.ndarray
    ) -> None:
        """
        Args:
            path: of the file, written anew.
            video: the name that its rows carry.
            model: whose scores come.
            untrained: its weights are random.
            thresholds: (A,) scores over which an action is listed.
        """
        self._arrow = require_pyarrow()
        self._video, self._thresholds = readable_name(video), thresholds
        names = [action.name for action in model.labels]
        self._schema = _schema(self._arrow).with_metadata({
            "schema": str(SCHEMA), "model": model.name, "labels": json.dumps(names),
            "untrained": json.dumps(untrained),
        })
        self._writer = self._arrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.count = 0

    def write(self, result: KeyFrameResult) -> None:
        """Take a key frame."""
        h, w = result.size_hw
        frame = {
            "video": self._video, "time_s": result.time_s, "due_s": result.due_s, "frame": result.frame_index,
            "width": w, "height": h,
        }
        for person, scores in zip(result.people(self._thresholds), result.detections.action_scores, strict=True):
            x1, y1, x2, y2 = person.box
            self._rows.append(frame | {
                "person": person.track_id, "x1": x1, "y1": y1, "x2": x2, "y2": y2, "score": round(person.score, 4),
                "actions": [action.name for action in person.actions], "scores": np.round(scores, 4),
            })
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Finish the file; may be called twice."""
        if self._writer is None:
            return
        self._flush()
        self._writer.close()
        self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self.count += len(self._rows)
        self._rows = []


def _schema(arrow: Any) -> Any:
    return arrow.schema([
        ("video", arrow.string()), ("time_s", arrow.float64()), ("due_s", arrow.float64()), ("frame", arrow.int64()),
        ("width", arrow.int32()), ("height", arrow.int32()), ("person", arrow.int32()),
        *((side, arrow.float32()) for side in ("x1", "y1", "x2", "y2")), ("score", arrow.float32()),
        ("actions", arrow.list_(arrow.string())), ("scores", arrow.list_(arrow.float32())),
    ])
