"""One stream in front of a causal network: its steps, in order, each with the state of this stream alone.

A step runs whether or not anyone asks for an answer: it is what the network will remember. Boxes are those predicted
for the step's newest frame; nothing waits for video after it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detector.types import Boxes
from stream.geometry import Fit, scale_boxes
from stream.results import KeyFrameResult
from stream.ring import Moment, Ring
from stream.step_batches import Scored
from stream.steps import Step, StepClock
from stream.watching import Watch

# Video that may wait for a live stream's network; the ring holds more.
MOST_BEHIND_S = 1.0


class CausalStream:
    """The steps of one stream. Used in one thread."""

    def __init__(self, watch: Watch) -> None:
        network, sampling = watch.model.network, watch.model.sampling
        self._watch = watch
        self._clock = StepClock(
            sampling.step_s, network.frames_per_step, MOST_BEHIND_S if watch.source.live else None
        )

    @property
    def seconds(self) -> float:
        """Of video, that a step takes."""
        return self._clock.seconds

    def due(self) -> Iterator[Step]:
        """Steps whose frames are all there, in order; what was left out or stood in is counted."""
        watch = self._watch
        assert watch.ring is not None
        while (step := self._clock.take(watch.ring.moments())) is not None:
            watch.count_drops(clips=step.skipped)
            watch.count_steps(step.repeated, step.restart)
            yield step

    def run(self, step: Step, boxes: Boxes | None, due_s: float, available_s: float) -> KeyFrameResult | None:
        """Compute a step.

        Args:
            step: the next one.
            boxes: N people in pixels of its key frame; None where no answer is wanted.
            due_s: the moment that was asked for.
            available_s: clock when the step's last frame was there.

        Returns:
            The answer, None where none was wanted or the step's pictures are gone.
        """
        watch = self._watch
        assert watch.ring is not None
        frames = watch.ring.pictures(step.moments)
        if frames is None:  # the camera came back from a gap meanwhile, or the machine is far behind
            self._clock.restart()
            watch.count_drops(clips=1)
            return None
        rows = rois_of(Boxes.empty() if boxes is None else boxes, step.key, watch.ring)
        scored: Scored = watch.wait_for(watch.session.score_step(watch, frames, rows, step.restart))
        if boxes is None:
            return None
        return watch.answered(step.key, boxes, scored, due_s, available_s)


def rois_of(boxes: Boxes, key: Moment, ring: Ring) -> np.ndarray:
    """Boxes (N) in pixels of a key frame as (N, 4) float32 in pixels of the ring's frames."""
    padded_hw = Fit(key.source_hw, ring.frame_hw).padded_hw
    return scale_boxes(boxes.xyxy, padded_hw, ring.frame_hw).astype(np.float32)
