"""TensorRT's engines, where its libraries are: built, verified, timed. They take minutes to build."""

from __future__ import annotations

import tempfile

from detector.errors import UserError
from engine_build.build import Target, build_engine
from engine_build.gpu_day.actions import BATCHES, load_subject, time_engine
from engine_build.gpu_day.child import Context
from engine_build.gpu_day.timing import matrix_peaks

PRECISIONS = ("fp16", "bf16", "fp32")
# A build of one precision, twice: with 3-D and with 2-D convolutions.
BUILD_S = 60.0


def run(context: Context, target: Target) -> None:
    """Build each precision while there is time."""
    if context.device != "cuda":
        raise UserError(f"{target} needs a GPU; it is left out of a rehearsal")
    subject = load_subject("slowfast_8x8_r50", context.quick)
    peaks = matrix_peaks(context.device, context.quick)
    context.put("peak_tflops", peaks)
    context.put("gmacs_per_clip", round(subject.gmacs, 3))
    for precision in PRECISIONS:
        if context.left_s() < BUILD_S:
            context.put("engines", precision, {"why": "no time left"})
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                engine = build_engine(
                    subject.model, subject.network, size_hw=subject.size_hw, target=target,
                    precision=precision, report=context.report, cache_dir=folder,  # type: ignore[arg-type]
                )
            except UserError as error:
                context.put("engines", precision, {"why": str(error)})
                context.report(f"{target} {precision}: {error}")
                continue
            for batch in BATCHES:
                figures = time_engine(context, subject, engine, batch)
                done = 2 * subject.gmacs / 1e3
                figures["share_of_peak"] = round(figures["trunk_clips_per_s"] * done / peaks[precision], 4)
                context.put("engines", precision, f"batch {batch}", figures)
                context.report(f"{target} {precision} batch {batch}: {figures['clips_per_s']:.1f} clips/s")
            engine.close()
