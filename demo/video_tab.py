"""The video tab: what the page shows while a video is analysed, and what it shows afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from demo.choices import Choices, read_choices
from demo.gate import COOKIE
from demo.jobs import CSV, JSONL, TABLE, VIDEO, Job, Progress, minutes_text
from demo.pool import Busy
from demo.server import Backend, Limits
from demo.shelf import Folder
from demo.timeline import TABLE_HEADERS, draw_timeline, find_spans, table_csv, table_rows
from detector.errors import UserError
from stream.sources import SAMPLE

PROGRESS_EVERY_S = 0.4
SAMPLE_PREFIX, AGAIN_PREFIX = "sample:", "again:"
# What a page that was reloaded asks for: the video that it waits for, or the last one that it got.
MINE = "mine"


HATCHED = "Hatched actions were learnt from renders only and are not proven on real video."


def samples() -> dict[str, Path]:
    """Clips that come with the program, by the name on their button."""
    return {path.stem.replace("_", " "): path for path in sorted(SAMPLE.parent.glob("*.mp4"))}


@dataclass(frozen=True, eq=False)
class VideoTab:
    """The tab's components.

    Attributes:
        go, cancel: buttons; `go` is pressed by the page's script once an upload is there.
        key, tab: hidden texts that the script fills in.
        progress, result, plot, table: outputs.
    """

    go: Any
    cancel: Any
    key: Any
    tab: Any
    progress: Any
    result: Any
    plot: Any
    table: Any


def build_video_tab(limits: Limits) -> VideoTab:
    """Lay the tab out; call inside its `gradio.Tab`."""
    import gradio as gr

    gr.HTML(drop_zone(limits))
    key, tab = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
    go = gr.Button(visible="hidden", elem_id="video-go")
    progress = gr.HTML(elem_id="video-progress")
    cancel = gr.Button("Cancel", visible=False, elem_id="video-cancel")
    result = gr.HTML(elem_id="video-result")
    plot = gr.Plot(visible=False, show_label=False, elem_id="video-timeline")
    table = gr.Dataframe(
        headers=TABLE_HEADERS, datatype=["str", "str", "str", "str", "number", "number", "str"], interactive=False,
        visible=False, label="Who did what, when", elem_id="video-table", max_height=320,
    )
    return VideoTab(go, cancel, key, tab, progress, result, plot, table)


def drop_zone(limits: Limits) -> str:
    """Where a video is dropped or chosen, and the clips to try."""
    buttons = "".join(
        f'<button class="push" data-do="sample" data-name="{escape(name, quote=True)}">'
        f"{'Try the bundled clip' if path == SAMPLE else f'Try: {escape(name)}'}</button>"
        for name, path in samples().items()
    )
    return (
        '<input type="file" id="video-file" accept="video/*,.mkv,.avi,.ts,.mpg,.ogv,.flv" hidden>'
        f'<button type="button" id="video-drop" data-do="choose-file" data-limit="{limits.upload_bytes}">'
        "<b>Drop a video here, or click to choose one</b>"
        f"<small>MP4, MOV, WebM, MKV, AVI … up to {limits.upload_bytes / 1e6:.0f} MB and "
        f"{minutes_text(limits.video_s)}; deleted when you leave the page</small></button>"
        f'<div class="bar">{buttons}</div>'
        '<div id="video-upload" hidden><span></span><progress max="1" value="0"></progress></div>'
    )


def wire_video_tab(backend: Backend, parts: VideoTab, controls: Sequence[Any]) -> None:
    """Connect the tab with its work.

    Args:
        backend: the server's.
        parts: of the tab.
        controls: model, display, person threshold, recommended?, action threshold, actions.
    """
    import gradio as gr

    outputs = [parts.progress, parts.cancel, parts.result, parts.plot, parts.table]

    async def analyse(request: Any, key: str, tab: str, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        hidden, visitor = gr.update(visible=False), request.cookies.get(COOKIE, "")
        # A film that is made anew stays to be seen until the new one is there.
        fresh = not (isinstance(key, str) and key.startswith(AGAIN_PREFIX))
        cleared = ("", hidden, hidden) if fresh else (gr.skip(), gr.skip(), gr.skip())
        yield message("Getting ready…"), gr.update(visible=True), *cleared
        try:
            job = find_work(backend, visitor, tab, key, read_controls(backend, values))
        except UserError as error:
            yield message(str(error), bad=True), hidden, gr.skip(), gr.skip(), gr.skip()
            return
        while (progress := backend.jobs.progress(job)).state in ("waiting", "running"):
            backend.shelf.find(job.folder.visitor, job.folder.key)  # in use: must not be swept away
            yield progress_html(progress), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            await asyncio.sleep(PROGRESS_EVERY_S)
        if progress.state == "done":
            job.folder.result = job
            plot, table = timeline_of(backend, job, job.choices)
            yield "", hidden, result_html(job.folder), plot, table
        else:
            text = progress.message or "Cancelled."
            yield message(text, bad=progress.state == "failed"), hidden, gr.skip(), gr.skip(), gr.skip()

    def again(request: Any, key: str, tab: str, *values: Any) -> tuple[Any, Any]:
        folder = backend.shelf.find(request.cookies.get(COOKIE, ""), key) if isinstance(key, str) else None
        if folder is None or folder.result is None:
            return gr.skip(), gr.skip()
        try:
            return timeline_of(backend, folder.result, read_controls(backend, values))
        except UserError:
            # The model was changed since: its actions are others.
            return gr.skip(), gr.skip()

    for handler in (analyse, again):
        # Gradio hands in the request where it finds this annotation; a name in quotes it could not look up here.
        handler.__annotations__["request"] = gr.Request
    parts.go.click(
        analyse, [parts.key, parts.tab, *controls], outputs, js=_FILL_IN, api_visibility="private",
        show_progress="hidden", concurrency_limit=None, trigger_mode="multiple",
    )
    parts.cancel.click(
        lambda tab: backend.jobs.cancel_tab(tab) if isinstance(tab, str) else None, [parts.tab], None,
        js="() => [window.demo.tab]", api_visibility="private", show_progress="hidden", concurrency_limit=None,
    )

    for control in controls[2:]:
        control.change(
            again, [parts.key, parts.tab, *controls], [parts.plot, parts.table], js=_FILL_IN_RESULT,
            api_visibility="private", show_progress="hidden", trigger_mode="always_last",
        )


_FILL_IN = "(key, tab, ...rest) => [window.demo.video, window.demo.tab, ...rest]"
_FILL_IN_RESULT = (
    "(key, tab, ...rest) => [document.querySelector('#video-result video')?.dataset.key || '', "
    "window.demo.tab, ...rest]"
)


def read_controls(backend: Backend, values: Sequence[Any]) -> Choices:
    """Choices from the controls' values: model, display, person threshold, recommended?, action threshold, actions.

    Raises:
        UserError: a value that the controls do not give.
    """
    model, display, person, recommended, action, actions = values
    given = {"model": model, "display": display, "person": person, "action": None if recommended else action,
             "actions": actions or []}
    return read_choices(given, backend.pool.names, backend.default)


def find_work(backend: Backend, visitor: str, tab: str, key: str, choices: Choices) -> Job:
    """The job that a page asks for: a new one, one with new choices, or the one that it waits for.

    Raises:
        UserError: it is not there (any more).
        Busy: too many are waiting.
    """
    if key == MINE:
        job = backend.work_of(tab, visitor) if isinstance(tab, str) else None
        if job is None:
            raise UserError("the video is not here any more; drop it again")
        return job
    if isinstance(key, str) and key.startswith(AGAIN_PREFIX):
        folder = backend.shelf.find(visitor, key.removeprefix(AGAIN_PREFIX))
        if folder is None or folder.result is None:
            raise UserError("the video is not here any more; drop it again")
        # A model was chosen meanwhile: it is that model's film which is made.
        before = folder.result
        job = Job(before.path, folder, choices, backend.limits.video_s, before=before)
        backend.jobs.submit(job)
        return job
    return take_on(backend, visitor, tab, key, choices)


def take_on(backend: Backend, visitor: str, tab: str, key: str, choices: Choices) -> Job:
    """Start the analysis of an upload or of a clip that came with the program.

    Raises:
        UserError: it is not there (any more).
        Busy: too many are waiting.
    """
    if not all(isinstance(text, str) for text in (visitor, tab, key)) or not backend.tabs.is_open(tab, visitor):
        raise UserError("the page has lost its session; reload it")
    if key.startswith(SAMPLE_PREFIX):
        name = key.removeprefix(SAMPLE_PREFIX)
        path = samples().get(name)
        if path is None:
            raise UserError(f"there is no clip {name[:40]!r}")
        folder = backend.shelf.create(visitor, tab, path.name, backend.tabs.address(tab, visitor))
    else:
        found = backend.shelf.find(visitor, key)
        upload = next(found.path.glob("upload.*"), None) if found else None
        if found is None or upload is None:
            raise UserError("that upload is not here any more; drop the video again")
        folder, path = found, upload
    job = Job(path, folder, choices, backend.limits.video_s)
    try:
        backend.jobs.submit(job)
    except Busy:
        if key.startswith(SAMPLE_PREFIX):
            backend.shelf.remove(folder)
        raise
    return job


def timeline_of(backend: Backend, job: Job, choices: Choices) -> tuple[Any, Any]:
    """Updates for the plot and the table of a finished job under some choices.

    Raises:
        UserError: the choices name actions that the job's model does not have.
    """
    import gradio as gr

    assert job.summary is not None
    spans = find_spans(job.summary, choices.thresholds(job.model or job.summary.labels))
    name = f"{Path(job.folder.shown_name).stem}_table.csv"
    job.folder.serve(TABLE, "text/csv", name).write_text(table_csv(spans), encoding="utf-8")
    return (
        gr.update(value=draw_timeline(spans, job.summary.duration_s), visible=True),
        gr.update(value=table_rows(spans), visible=bool(spans)),
    )


def message(text: str, bad: bool = False) -> str:
    """A line in a box."""
    sentence = text[:1].upper() + text[1:] + ("" if text.endswith((".", "…", "!")) else ".")
    return f'<div class="message{" bad" if bad else ""}" role="status">{escape(sentence)}</div>'


def progress_html(progress: Progress) -> str:
    """A bar with the time left."""
    if progress.state == "waiting":
        return message(f"In line: {progress.ahead} video{'s' if progress.ahead != 1 else ''} first…")
    words, bar = progress.message or "Analysing", "<progress></progress>"
    if progress.fraction:
        words += f": {progress.fraction:.0%}"
        bar = f'<progress max="1" value="{progress.fraction:.3f}"></progress>'
    if progress.left_s is not None:
        words += f", {left_text(progress.left_s)} left"
    words = words[:1].upper() + words[1:]
    return f'<div class="message" role="status">{escape(words)}{bar}</div>'


def left_text(seconds: float) -> str:
    """`2 min`, `40 s`: as exact as such a guess deserves."""
    if seconds >= 90:
        return f"about {round(seconds / 60)} min"
    return f"about {max(5 * round(seconds / 5), 1)} s" if seconds >= 8 else "a few seconds"


def result_html(folder: Folder) -> str:
    """The annotated video and what can be downloaded."""
    where, proven = f"files/{folder.key}", folder.result.summary.proven if folder.result else None
    links = "".join(
        f'<a class="push" href="{where}/{name}?download=1" download>Download {text}</a>'
        for name, text in (
            (VIDEO, "video (MP4)"), (TABLE, "table (CSV)"), (JSONL, "answers (JSON lines)"), (CSV, "scores (AVA CSV)"),
        )
    )
    hatched = "" if proven is None else f" {HATCHED}"
    made = ""
    if folder.result is not None:
        c = folder.result.choices
        made = escape(json.dumps([c.model, c.person_threshold, c.action_threshold, list(c.actions)]), quote=True)
    return (
        f'<video src="{where}/{VIDEO}?made={folder.made}" data-key="{folder.key}" data-made="{made}" '
        f'controls playsinline muted preload="auto" aria-label="annotated video"></video><div class="bar">{links}'
        '<button class="push" id="video-again" data-do="again" hidden>Make the film again with these settings</button>'
        f'</div><div class="status">Click a span below to go there.{hatched} Timeline and table follow the settings; '
        "the film and the other files keep those that they were made with.</div>"
    )
