"""Is a causal engine the same network, and does it stay the same? Step by step beside torch, for up to a minute."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from detector.slowfast.causal import create_state, run_step
from detector.slowfast.network import ActionNetwork
from engine_build.causal_engine import CausalEngine
from engine_build.footage import rois_at_places, steps_of
from engine_build.verify import TOLERANCES, Report, compare, is_trained

# What comes in later must not be further off than this many times what came in first.
MOST_GROWTH = 2.0


@dataclass(frozen=True)
class CausalReport(Report):
    """What a verification of steps found; `clips` counts steps.

    Attributes:
        first_error: relative error of the features, mean over the first half of the steps.
        last_error: mean over the last quarter.
    """

    first_error: float = 0.0
    last_error: float = 0.0

    def line(self) -> str:
        """One line for a person."""
        text = super().line().replace(f"on {self.clips} clips", f"over {self.clips} steps")
        grown = f"{self.first_error:.2%} in the first half, {self.last_error:.2%} in the last quarter"
        return f"{text}; features by {grown}"


def verify_steps(
    engine: CausalEngine, network: ActionNetwork, footage: np.ndarray, precision: str, source: str
) -> CausalReport:
    """Compare a causal engine with the torch network it was built from, step by step.

    Args:
        engine: to be checked; a camera is opened for it.
        network: causal, fp32; run in eval mode.
        footage: (F, h, w, 3) uint8 RGB of one camera.
        precision: which tolerance holds.
        source: what the footage is, for the report.
    """
    network = network.eval()
    n, rois = network.config.frames_per_step, rois_at_places(engine.size_hw)
    state = create_state(network, 1, engine.size_hw)
    device = state.pictures.device
    row = engine.open_camera()
    reference, found, errors = [], [], []
    off = norm = worst = 0.0
    last = (np.zeros(1), np.zeros(1))
    with torch.inference_mode():
        for frames in steps_of(footage, n):
            expected = run_step(network, torch.from_numpy(frames.copy()).to(device), state)
            reference.append(network.forward_head(expected, torch.from_numpy(rois).to(device)).cpu().numpy())
            got = engine.run_step(frames, [row])
            found.append(engine.run_head(got, rois))
            last = expected.cpu().double().numpy(), got.cpu().double().numpy()
            step_off, step_norm = float(np.square(last[0] - last[1]).sum()), float(np.square(last[0]).sum())
            errors.append(float(np.sqrt(step_off / max(step_norm, 1e-30))))
            off, norm, worst = off + step_off, norm + step_norm, max(worst, float(np.abs(last[0] - last[1]).max()))
    engine.close_camera(row)
    plain = compare(np.concatenate(reference), np.concatenate(found), [last], engine.description, precision, source)
    values: dict[str, Any] = {field.name: getattr(plain, field.name) for field in fields(Report)}
    first, final = float(np.mean(errors[: -(-len(errors) // 2)])), float(np.mean(errors[-max(len(errors) // 4, 1) :]))
    limit = TOLERANCES[precision]
    values |= {
        "clips": len(errors), "feature_error": float(np.sqrt(off / max(norm, 1e-30))), "feature_max": worst,
        "trained": is_trained(network),
    }
    good = values["feature_error"] <= limit.feature_error and bool(np.isfinite(np.concatenate(found)).all())
    good = good and final <= MOST_GROWTH * first + 0.05 * limit.feature_error
    if values["trained"]:
        good = good and plain.score_max <= limit.score_max and plain.score_mean <= limit.score_mean
    return CausalReport(**{**values, "ok": good}, first_error=first, last_error=final)
