"""Rules on a recording: the events, what each rule was at when, on the picture and as a plot. Nothing is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detector.errors import UserError
from stream.events.answers_file import read_answers
from stream.events.cases import RuleState
from stream.events.engine import RuleEngine, check_actions
from stream.events.records import Event, EventChange, Observation, describe, event_to_json, observation_of
from stream.events.rule_file import Lines
from stream.events.rules import RuleSet
from stream.events.timeline import Courses, draw_timeline
from stream.picture.overlay import PALETTE, draw_update
from stream.picture.text import font_px, panel, paste
from stream.results import result_to_json
from stream.session import Session

# Falls last a second: rules about them need more answers than the one a second that files are given by default.
EVERY_S = 0.25
STATE_COLOURS = {"pending": (60, 160, 230), "active": (40, 40, 200)}


@dataclass(frozen=True)
class Outputs:
    """What a replay writes; None for not.

    Attributes:
        jsonl: every change of every event.
        overlay: the film with people, zones and the states of rules.
        plot: a PNG of what rules did over time.
        answers: the network's answers, for later replays in a second.
    """

    jsonl: str | None = None
    overlay: str | None = None
    plot: str | None = None
    answers: str | None = None


class Replay:
    """Rules at work on one recording."""

    def __init__(self, name: str, rules: RuleSet, lines: Lines, say: Callable[[str], None]) -> None:
        self._rules, self._lines, self._say = rules, lines, say
        self.engine = RuleEngine(name, rules, source=name)
        self.courses = Courses()
        self.events: dict[str, Event] = {}
        self._checked = False
        self.last_s = 0.0

    def step(self, seen: Observation) -> list[EventChange]:
        """Take an answer."""
        if not self._checked:
            for path, message in check_actions(self._rules, seen.labels)[:1]:
                raise self._lines.error(path, message)
            self._checked = True
        changes = self.engine.step(seen)
        for line in self.engine.notices():
            self._say(line)
        self.courses.add(seen.time_s, self.engine.states())
        self.last_s = seen.time_s
        return self._note(changes)

    def finish(self) -> list[EventChange]:
        """No more answers."""
        return self._note(self.engine.finish())

    def _note(self, changes: list[EventChange]) -> list[EventChange]:
        for change in changes:
            self.events[change.event.id] = change.event
            if change.kind == "start":
                self._say(f"{change.event.told_s:7.2f} s  {describe(change.event)}")
        return changes


def replay_film(
    film: str, rules: RuleSet, lines: Lines, outputs: Outputs, *, every_s: float = EVERY_S, model: str = "auto",
    say: Callable[[str], None] = print,
) -> Replay:
    """Run rules over a film, or over a file of answers (`.jsonl`), and write what is asked for.

    Raises:
        UserError: the film, the rules or an output.
    """
    _keep_apart(film, outputs)
    replay = Replay(Path(film).stem, rules, lines, say)
    with contextlib.ExitStack() as stack:
        write = _jsonl(outputs.jsonl, stack)
        if film.endswith(".jsonl"):
            if outputs.overlay or outputs.answers:
                raise UserError(f"{film}: holds answers without pictures, expected a film for --overlay or --answers")
            for seen in read_answers(film, proven_of(film)):
                write(replay.step(seen))
        else:
            _watch(film, replay, outputs, every_s, model, write, stack)
        # Before the end is told, so that the last minute is still known.
        hindered = replay.engine.why_not()
        write(replay.finish())
    if outputs.plot:
        draw_timeline(outputs.plot, film, replay.courses, list(replay.events.values()), replay.last_s)
    if not replay.events:
        say("no event; in the last minute:")
        for line in [str(hindrance) for hindrance in hindered] or ["nothing came near a limit"]:
            say(f"  {line}")
    return replay


def _watch(
    film: str, replay: Replay, outputs: Outputs, every_s: float, model: str,
    write: Callable[[list[EventChange]], None], stack: contextlib.ExitStack,
) -> None:
    from stream.outputs.film import Mp4Writer
    from stream.outputs.text import open_anew
    from stream.pipeline import Options, Pipeline
    from stream.results import thresholds_for
    from stream.session import open_session
    from stream.sources import open_source

    source = stack.enter_context(contextlib.closing(open_source(film)))
    if source.live:
        raise UserError(f"{film}: is a camera, expected a film; python -m stream.webcam --events watches cameras")
    session = stack.enter_context(open_session(model, report=lambda line: None))
    video = Mp4Writer(outputs.overlay, source.fps) if outputs.overlay else None
    if video is not None:
        stack.callback(video.close)
    answers = stack.enter_context(contextlib.closing(open_anew(outputs.answers))) if outputs.answers else None
    limits = thresholds_for(session.model)
    options = Options(every_s=every_s, pictures=video is not None)
    for update in stack.enter_context(Pipeline(source, session, options)):
        for result in update.results:
            if answers is not None:
                answers.write(json.dumps(result_to_json(result, limits, all_scores=True), ensure_ascii=False) + "\n")
            write(replay.step(observation_of(result)))
        if video is not None and update.frame is not None:
            video.write(draw_rules(draw_update(update, limits), replay.engine), update.time_s)


def keep_answers(film: str, path: Path, session: Session, every_s: float = EVERY_S) -> None:
    """Write the network's answers about a film; the file is there when it is complete."""
    from stream.pipeline import Options, Pipeline
    from stream.results import thresholds_for
    from stream.sources import open_source

    limits, part = thresholds_for(session.model), path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", encoding="utf-8") as file, \
            Pipeline(open_source(film), session, Options(every_s=every_s, pictures=False)) as pipeline:
        for update in pipeline:
            for result in update.results:
                file.write(json.dumps(result_to_json(result, limits, all_scores=True), ensure_ascii=False) + "\n")
    part.replace(path)


def proven_of(path: str) -> tuple[str, ...] | None:
    """What the model of a file of answers is shown to know on real video; None for all, or where it is not here."""
    from detector.weights.choose import resolve_action_model

    try:
        with open(path, encoding="utf-8") as file:
            name = json.loads(file.readline() or "{}").get("model", "")
        return resolve_action_model(name)[0].works_on_real_video if name else None
    except (OSError, ValueError):
        return None
    except UserError:
        model, _ = resolve_action_model()
        return model.works_on_real_video if model.name == name else None


def draw_rules(image: np.ndarray, engine: RuleEngine) -> np.ndarray:
    """Draw zones, lines and where each rule stands onto a picture; gives a new one."""
    drawn = image.copy()
    h, w = drawn.shape[:2]
    busy = {state.zone for state in engine.states() if state.state == "active"}
    for n, (name, corners) in enumerate([*engine.rules.zones.items(), *engine.rules.lines.items()]):
        points = np.round(np.array(corners) * (w - 1, h - 1)).astype(np.int32)
        colour = STATE_COLOURS["active"] if name in busy else PALETTE[(n + 3) % len(PALETTE)]
        cv2.polylines(drawn, [points.reshape(-1, 1, 2)], len(points) > 2, colour, 2, cv2.LINE_AA)
        paste(drawn, panel(((name, ""),), font_px((h, w)), colour), *_inside(points[0], (h, w)))
    rows = tuple(_row(state) for state in _told_states(engine.states()))
    if rows:
        paste(drawn, panel(rows, font_px((h, w)), alpha=0.7), 4, 4)
    return drawn


def _inside(point: np.ndarray, size_hw: tuple[int, int]) -> tuple[int, int]:
    h, w = size_hw
    return int(np.clip(point[0], 0, max(w - 60, 0))), int(np.clip(point[1], 0, max(h - 30, 0)))


def _told_states(states: list[RuleState], most: int = 8) -> list[RuleState]:
    """Those that are not idle, or came nearest to their limit, of each rule the nearest one."""
    order = {"active": 0, "pending": 1, "idle": 2}
    best: dict[str, RuleState] = {}
    for state in sorted(states, key=lambda s: (order[s.state], -s.value / max(s.limit, 1e-6))):
        best.setdefault(state.rule if state.state == "idle" else f"{state.rule}{state.person}{state.zone}", state)
    told = [s for s in best.values() if s.state != "idle"]
    busy = {s.rule for s in told}
    return (told + [s for s in best.values() if s.state == "idle" and s.rule not in busy])[:most]


def _row(state: RuleState) -> tuple[str, str]:
    who = f" #{state.person}" if state.person >= 0 else ""
    return f"{state.rule}{who}: {state.state}", f"{state.value:.2f} of {state.limit:.2f}"


def _jsonl(path: str | None, stack: contextlib.ExitStack) -> Callable[[list[EventChange]], None]:
    """A function that writes changes as JSON lines, or does nothing."""
    if path is None:
        return lambda changes: None
    from stream.outputs.text import open_anew

    file = open_anew(path)
    stack.callback(file.flush if path == "-" else file.close)

    def write(changes: list[EventChange]) -> None:
        for change in changes:
            file.write(json.dumps({"type": change.kind} | event_to_json(change.event), ensure_ascii=False) + "\n")
        file.flush()

    return write


def _keep_apart(film: str, outputs: Outputs) -> None:
    for path in (outputs.jsonl, outputs.overlay, outputs.plot, outputs.answers):
        if path and Path(path).exists() and Path(film).exists() and Path(path).samefile(film):
            raise UserError(f"{path}: is the film itself, expected another file to write to")
