"""One video worked through: every key frame's answer into all files, beside the archive, complete or not at all."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import UserError
from detector.files import readable_name
from stream.archive.rows import RowsFile
from stream.archive.settings import Settings
from stream.archive.videos import Video
from stream.outputs.ava_csv import AvaCsv
from stream.outputs.json_lines import JsonLines
from stream.pipeline import Options, Pipeline
from stream.results import KeyFrameResult, Timings, thresholds_for
from stream.session import Session
from stream.sources import VideoFile


class BadVideo(Exception):
    """This video cannot be worked through, others may; the text says why."""


@dataclass
class Tally:
    """What is counted of a video.

    Attributes:
        key_frames: answered.
        people: key frames by the number of people in them.
        actions: people at key frames by action over its threshold.
        events: begun.
        last_s: media time of the last key frame.
    """

    key_frames: int = 0
    people: Counter[int] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    events: int = 0
    last_s: float = 0.0

    def add(self, result: KeyFrameResult, thresholds: np.ndarray) -> None:
        """Count a key frame."""
        people = result.people(thresholds)
        self.key_frames += 1
        self.people[len(people)] += 1
        self.actions.update(action.name for person in people for action in person.actions)
        self.last_s = result.time_s


def label_video(
    video: Video, key: str, session_for: Callable[[tuple[int, int]], Session], settings: Settings, folder: Path,
    at: Callable[[float], object],
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Work a video through.

    Args:
        video: the file.
        key: of it; ids of events begin with it, so that they are the same each time.
        session_for: gives the session for videos of a height and width; it stays open.
        settings: those that the session was opened with.
        folder: empty, for the files.
        at: is told how much of the video is done, 0 to 1.

    Returns:
        The record for `Books.settle`, and the files by kind.

    Raises:
        BadVideo: it cannot be read, or something fails while it is worked through.
        UserError: nothing can be written, or no engine can be built; no other video would go better.
    """
    try:
        source = VideoFile(video.path)
    except Exception as error:  # decoders have many ways to say no
        raise BadVideo(_reason(error, video)) from error
    tally = Tally()
    with contextlib.ExitStack() as stack:
        stack.callback(source.close)
        session = session_for(source.size_hw)
        limits = thresholds_for(session.model.labels, settings.thresholds)
        session.prepare(source.size_hw).result()
        made = {"answers": folder / "answers", "ava": folder / "ava", "rows": folder / "rows"}
        texts: list[JsonLines | AvaCsv] = [
            JsonLines(made["answers"], limits, settings.all_scores), AvaCsv(made["ava"]),
        ]
        rows = stack.enter_context(RowsFile(made["rows"], video.name, session.model, session.untrained, limits))
        if settings.rules:
            made["events"] = folder / "events"
            texts.append(Events(made["events"], video, key, settings.rules, tally))
        for text in texts:
            stack.callback(text.close)
        options = Options(every_s=settings.every_s, pictures=False)
        updates = iter(stack.enter_context(Pipeline(source, session, options)))
        for result in _answers(updates, video):
            # What varies from run to run is left out; AVA's CSV takes the name's last part.
            plain = replace(result, source=readable_name(video.name), timings=Timings(result.timings.look_ahead_s))
            tally.add(plain, limits)
            for text in texts:
                text.write(plain)
            rows.write(plain)
            if source.duration_s:
                at(min(plain.time_s / source.duration_s, 1.0))
    seconds = max(source.duration_s or 0.0, tally.last_s)
    record = {
        "name": video.name, "seconds": round(seconds, 3), "key_frames": tally.key_frames, "rows": rows.count,
        "people": {str(n): count for n, count in sorted(tally.people.items())},
        "actions": dict(sorted(tally.actions.items())), "events": tally.events, "damage": source.damage,
        "engine": session.engine_name, "detector": session.detector_name, "model": session.model.name,
    }
    return record, made


class Events(JsonLines):
    """Rules at work on a video's answers; each change of an event is a line."""

    def __init__(self, path: Path, video: Video, key: str, rules: str, tally: Tally) -> None:
        """
        Args:
            path: of the file.
            video: whose answers come.
            key: of the video.
            rules: a file of rules.
            tally: counts the events.
        """
        from stream.events.config import load_events_file
        from stream.events.engine import RuleEngine

        super().__init__(path)
        self._key, self._tally = key, tally
        config, _ = load_events_file(rules)
        name = readable_name(video.name)
        self._engine = RuleEngine(name, config, source=name, new_id=self._new_id)

    def write(self, what: Any) -> None:
        """Take an answer."""
        from stream.events.records import observation_of

        self._note(self._engine.step(observation_of(what)))

    def close(self) -> None:
        """End what goes on, and the file; may be called twice."""
        if not self._closed:
            self._note(self._engine.finish())
        super().close()

    def _note(self, changes: Any) -> None:
        from stream.events.records import event_to_json

        for change in changes:
            self.append(json.dumps({"type": change.kind} | event_to_json(change.event), ensure_ascii=False) + "\n")

    def _new_id(self, utc: float | None) -> str:
        self._tally.events += 1
        return f"{self._key[:12]}-{self._tally.events:012x}"


def _answers(updates: Any, video: Video) -> Any:
    """Answers one by one; whatever fails on the way to them is the video's fault."""
    while True:
        try:
            update = next(updates)
        except StopIteration:
            return
        except Exception as error:
            raise BadVideo(_reason(error, video)) from error
        yield from update.results


def _reason(error: BaseException, video: Video) -> str:
    """Why, in one line, without the name, which stands beside it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for name in (readable_name(video.path), readable_name(Path(video.path).name)):
        text = text.removeprefix(f"{name}: ")
    return (text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")[:300]
