"""Time lives here: sources, ring buffer, pipeline, overlay, outputs, metrics and the command line.

What programs use is named in `__all__` and imported when it is first asked for, so that `import stream` costs nothing:

::

    import stream

    with stream.open_session() as session, stream.Mp4Writer("labelled.mp4") as film:
        for update in stream.watch_pictures("party.mp4", session=session):
            film.write(stream.draw_update(update), update.time_s)
            for answer in update.results:
                print(answer, answer.to_dict())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.doors import lazy_door

if TYPE_CHECKING:
    from detector.errors import UserError
    from stream.api import watch, watch_pictures
    from stream.outputs.ava_csv import AvaCsv
    from stream.outputs.film import Mp4Writer
    from stream.outputs.json_lines import JsonLines
    from stream.picture.overlay import draw_update
    from stream.pipeline import Options, Pipeline
    from stream.results import KeyFrameResult, Person, ScoredAction, Status, Update, thresholds_for
    from stream.session import Session, open_session
    from stream.sources import PushSource, Source, open_source

__all__ = [
    "AvaCsv", "JsonLines", "KeyFrameResult", "Mp4Writer", "Options", "Person", "Pipeline", "PushSource",
    "ScoredAction", "Session", "Source", "Status", "Update", "UserError", "draw_update", "open_session",
    "open_source", "thresholds_for", "watch", "watch_pictures",
]

__getattr__, __dir__ = lazy_door(__name__, {
    "AvaCsv": "stream.outputs.ava_csv",
    "JsonLines": "stream.outputs.json_lines",
    "KeyFrameResult": "stream.results",
    "Mp4Writer": "stream.outputs.film",
    "Options": "stream.pipeline",
    "Person": "stream.results",
    "Pipeline": "stream.pipeline",
    "PushSource": "stream.sources",
    "ScoredAction": "stream.results",
    "Session": "stream.session",
    "Source": "stream.sources",
    "Status": "stream.results",
    "Update": "stream.results",
    "UserError": "detector.errors",
    "draw_update": "stream.picture.overlay",
    "open_session": "stream.session",
    "open_source": "stream.sources",
    "thresholds_for": "stream.results",
    "watch": "stream.api",
    "watch_pictures": "stream.api",
})
