"""The page: tabs, controls and results, made of Gradio's components. What moves is in `assets/demo.js`."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

from demo.server import Backend
from demo.video_tab import HATCHED, build_video_tab, wire_video_tab
from detector.weights.records import ActionModel

TITLE = "Who does what, now"


def read_asset(name: str) -> str:
    """Text of a file in `demo/assets`."""
    return (resources.files("demo") / "assets" / name).read_text(encoding="utf-8")


def page_options() -> dict[str, Any]:
    """Theme, style and script, for Gradio's mounting; nothing in it comes from another host."""
    import gradio

    theme = gradio.themes.Soft(
        primary_hue="blue", font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        block_title_background_fill="transparent", block_title_background_fill_dark="transparent",
        block_title_text_color="*body_text_color", block_title_text_color_dark="*body_text_color",
        block_title_padding="0",
    )
    script = read_asset("people.js") + read_asset("demo.js")
    return {"theme": theme, "css": read_asset("demo.css"), "head": f"<script>{script}</script>"}


def build_page(backend: Backend, records: Mapping[str, ActionModel], notice: str = "") -> Any:
    """The Gradio page.

    Args:
        backend: what the page works with.
        records: each model on offer; the first one is chosen.
        notice: a line of Markdown above all, such as that the weights are random.

    Returns:
        `gradio.Blocks`.
    """
    import gradio as gr

    with gr.Blocks(analytics_enabled=False, title=TITLE) as page:
        gr.HTML(f"<h1>{TITLE}</h1><p>People and their actions in a camera's picture or a video. "
                "Pictures are analysed on the server that shows this page, and not kept.</p>", elem_id="title")
        if notice:
            gr.HTML(escape(notice), elem_id="notice")
        with gr.Row():
            with gr.Column(scale=3, min_width=320), gr.Tabs():
                with gr.Tab("Live", id="live") as live:
                    gr.HTML(_stage("live", "", _CLIP) + _LIVE_BAR + _below("live"))
                with gr.Tab("Video", id="video", elem_id="video-tab") as films:
                    video = build_video_tab(backend.limits)
                if backend.open_url is not None:
                    with gr.Tab("Camera address", id="net"):
                        gr.HTML(_stage("net", "Type a camera's address and press Watch.") + _NET_BAR + _below("net"))
            with gr.Column(scale=1, min_width=280):
                controls = _controls(gr, backend, records)
                with gr.Accordion("About this model", open=False):
                    about = gr.Markdown(about_model(next(iter(records.values()))))
        for control in controls:
            control.change(None, controls, None, js="(...all) => window.demo.choose(...all)")
        page.load(None, controls, None, js="(...all) => window.demo.choose(...all)")
        _wire_model(gr, controls[0], controls[-1], about, records)
        wire_video_tab(backend, video, controls)
        # What has no meaning for the tab that is shown is not shown.
        live.select(None, None, None, js="() => window.demo.showTab('live')")
        films.select(None, None, None, js="() => window.demo.showTab('video')")
    return page


# Plays until something else is shown, with the labels that the bundled model gave it.
_CLIP = (
    '<video id="clip" src="clip.mp4" loop muted playsinline preload="auto" aria-hidden="true" tabindex="-1"></video>'
    '<canvas id="clip-view" role="img" aria-label="example: people with boxes and their actions"></canvas>'
)


def _stage(name: str, hint: str, more: str = "") -> str:
    return (
        f'<div class="stage" id="{name}-stage">{more}<canvas id="{name}-view" width="640" height="480" role="img" '
        f'aria-label="camera picture with boxes and actions"></canvas>'
        f'<div class="note" id="{name}-note" role="status"{"" if hint else " hidden"}>{hint}</div></div>'
    )


def _below(name: str) -> str:
    return (
        f'<div class="words" id="{name}-words" role="status"></div><ul class="people" id="{name}-people"></ul>'
        f'<div class="status hatched" id="{name}-hatched" hidden>{HATCHED}</div>'
        f'<details class="more" id="{name}-more" hidden><summary>Details</summary>'
        f'<div class="status" id="{name}-status"></div></details>'
    )


_LIVE_BAR = """<div class="bar">
<button class="push main" id="live-start" data-do="start">Start camera</button>
<button class="push" id="live-stop" data-do="stop" hidden>Stop</button>
<button class="push" id="live-sample" data-do="live-sample">Try the bundled clip</button>
<button class="push" id="live-turn" data-do="turn" title="front or back camera of a phone" hidden>Turn camera</button>
<label id="live-mirror-label" hidden><input type="checkbox" id="live-mirror" checked> Mirror</label></div>"""
_NET_BAR = """<div class="bar">
<input type="url" id="net-url" placeholder="rtsp://user:password@camera/stream" autocomplete="off" spellcheck="false"
 aria-label="camera address">
<button class="push main" id="net-start" data-do="watch">Watch</button>
<button class="push" id="net-stop" data-do="stop" hidden>Stop</button></div>"""


def _controls(gr: Any, backend: Backend, records: Mapping[str, ActionModel]) -> list[Any]:
    """Model, display, person threshold, recommended?, action threshold, actions: as `window.demo.choose` has them."""
    first = next(iter(records.values()))
    default = backend.default
    model = gr.Dropdown(list(records), value=next(iter(records)), label="Model", elem_id="model",
                        visible=True if len(records) > 1 else "hidden")
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        return [
            model,
            gr.Radio(
                [("Newest picture, labels a little late", "now"), ("In step: picture waits for its labels", "synced")],
                value=default.display, label="Live display", elem_id="display",
            ),
            gr.Slider(0.05, 0.99, value=default.person_threshold, step=0.01, label="Person threshold",
                      elem_id="person", info="how sure the detector must be that a box is a person"),
            gr.Checkbox(True, label="Recommended action thresholds", elem_id="recommended",
                        info="0.7 for actions that are in most pictures, 0.3 for the rest"),
            gr.Slider(0.0, 1.0, value=0.5, step=0.01, label="Action threshold", elem_id="action",
                      info="for all actions"),
            gr.Dropdown(_action_choices(first), multiselect=True, label="Actions to show", elem_id="actions",
                        info="leave empty for all"),
        ]


def _action_choices(record: ActionModel) -> list[tuple[str, str]]:
    return [(action.short_name, action.name) for action in record.labels]


def _wire_model(gr: Any, model: Any, actions: Any, about: Any, records: Mapping[str, ActionModel]) -> None:
    def change(name: str) -> tuple[Any, str]:
        record = records[name]
        return gr.Dropdown(choices=_action_choices(record), value=[]), about_model(record)

    model.input(change, [model], [actions, about], api_visibility="private")


def about_model(record: ActionModel) -> str:
    """What a record says of itself, as Markdown."""
    lines = [f"**{record.name}**: {len(record.labels)} actions of {record.labels.name}."]
    lines += [f"{text}." for text in (record.accuracy, record.notes) if text]
    if record.works_on_real_video is not None:
        known = ", ".join(record.works_on_real_video) or "none"
        lines.append(f"Measured on real video: {known}. Other actions were learnt from renders only (marked with *).")
    lines.append(
        f"It looks at {record.sampling.span_s:.2f} s of video round each moment, "
        f"{record.sampling.look_ahead_s:.2f} s of them after it, so labels come at least that late."
    )
    return "\n\n".join(lines)
