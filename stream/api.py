"""Watching from Python: a loop over answers, or over pictures with all that is known about them.

::

    import stream

    for answer in stream.watch("party.mp4"):
        for person in answer.people():
            print(answer.time_s, person.track_id, person.box, person.actions)

A session (person detector, action model, engine) is opened for the loop and closed after it. Who watches several
sources opens one and passes it, since loading takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream.pipeline import Options, Pipeline
from stream.results import KeyFrameResult, Update
from stream.session import Session, open_session
from stream.sources import Source, open_source

log = logging.getLogger(__name__)


def watch(
    source: str | int | Path | Source, *, session: Session | None = None, every_s: float | None = None,
    seconds: float | None = None, **chosen: Any,
) -> Iterator[KeyFrameResult]:
    """Iterate over answers: who is in a key frame and what each of them does.

    ::

        import pandas
        import stream

        rows = [row for answer in stream.watch("party.mp4", every_s=0.5) for row in answer.to_rows()]
        print(pandas.DataFrame(rows))

    Args:
        source: a file, a camera's number, an RTSP or HTTP address, `sample`, or an open source; closed at the end.
        session: to use, and not to close; without one, one is opened for this loop.
        every_s: seconds between key frames; None for 1.0 with files and as often as the machine can when live.
        seconds: stop after so much video.
        chosen: as of `open_session`, where there is no session: `model="runs/mine/model.pt"`, `detector`, `engine`,
            `precision`, `device`, `person_threshold`, `untrained`, `report`.

    Raises:
        UserError: the source, the model or an option is not there; the line says what to do.
    """
    options = Options(every_s=every_s, pictures=False)
    for update in _updates(source, session, options, chosen):
        for answer in update.results:
            if seconds is not None and answer.time_s >= seconds:
                return
            yield answer


def watch_pictures(
    source: str | int | Path | Source, *, session: Session | None = None, every_s: float | None = None,
    seconds: float | None = None, synced: bool = False, smooth_s: float = 0.4, **chosen: Any,
) -> Iterator[Update]:
    """Iterate over pictures, each with the people in it, their labels and the answers that are new.

    ::

        import stream

        with stream.Mp4Writer("labelled.mp4") as film:
            for update in stream.watch_pictures("party.mp4"):
                film.write(stream.draw_update(update), update.time_s)

    Args:
        source, session, every_s, seconds, chosen: as of `watch`.
        synced: of a camera, delay the picture until its own labels are there; files always do.
        smooth_s: time constant over which shown scores are averaged; 0 for none.

    Returns:
        Updates that have a picture: (H, W, 3) uint8 BGR in `update.frame.image`, read-only.

    Raises:
        UserError: as of `watch`.
    """
    options = Options(every_s=every_s, display="synced" if synced else "now", smooth_s=smooth_s)
    for update in _updates(source, session, options, chosen):
        if update.frame is None:
            continue
        if seconds is not None and update.time_s >= seconds:
            return
        yield update


def _updates(
    source: str | int | Path | Source, session: Session | None, options: Options, chosen: dict[str, Any]
) -> Iterator[Update]:
    if session is not None and chosen:
        raise TypeError(f"{', '.join(chosen)}: got these and a session; expected one of both, a session has its own")
    with contextlib.ExitStack() as stack:
        given = open_source(str(source)) if isinstance(source, str | int | Path) else source
        stack.callback(given.close)
        if session is None:
            session = stack.enter_context(open_session(**{"report": log.info, **chosen}))
        size_hw = getattr(given, "size_hw", None)
        if size_hw is not None and not given.live:
            # A file can wait for its engine; without this the first answers would be told to have taken as long.
            session.prepare(size_hw).result()
        yield from stack.enter_context(Pipeline(given, session, options))
