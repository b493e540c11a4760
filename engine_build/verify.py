"""Is an engine the same network? The same clips through torch fp32 and the engine, and the differences in numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.errors import UserError
from engine_build.engine import Engine

THRESHOLD = 0.5
TOP = 5


@dataclass(frozen=True)
class Tolerance:
    """How far an engine's scores may be from torch's in fp32.

    Attributes:
        score_max: largest absolute difference of a score, 0 to 1.
        score_mean: mean absolute difference.
        feature_error: norm of the features' difference over the norm of the features.
    """

    score_max: float
    score_mean: float
    feature_error: float


# fp32 differs by the order of sums alone. bf16 keeps 8 bits of mantissa and fp16 11. An int8 engine further off than
# this changes what a person reads on the overlay.
TOLERANCES = {
    "fp32": Tolerance(1e-3, 1e-4, 1e-3),
    "fp16": Tolerance(1e-2, 2e-3, 2e-2),
    "bf16": Tolerance(3e-2, 5e-3, 5e-2),
    "int8": Tolerance(1e-1, 1e-2, 2e-1),
}


@dataclass(frozen=True)
class Report:
    """What a verification found.

    Attributes:
        engine: its description.
        precision: decides the tolerance.
        clips, people: how much was compared.
        source: what the clips were: a file's name, or "drawn clips".
        score_max, score_mean: absolute differences of scores.
        feature_max, feature_error: largest absolute difference of a feature, and the relative norm of them all.
        top1_same: share of people whose best action stayed the best.
        top5_overlap: share of people's five best actions that stayed among the five best.
        agreement: share of all (person, action) decisions at `THRESHOLD` that stayed.
        ok: within `TOLERANCES[precision]`.
        trained: False for random weights. Their scores are 0 or 1, or far apart for features that hardly differ, so
            rounding flips some: only features are held then.
    """

    engine: str
    precision: str
    clips: int
    people: int
    source: str
    score_max: float
    score_mean: float
    feature_max: float
    feature_error: float
    top1_same: float
    top5_overlap: float
    agreement: float
    ok: bool
    trained: bool = True

    def line(self) -> str:
        """One line for a person."""
        allowed = TOLERANCES[self.precision]
        return (
            f"{self.engine} against torch fp32 on {self.clips} clips, {self.people} people ({self.source}): "
            f"scores differ by at most {self.score_max:.2g} (allowed {allowed.score_max:g}), "
            f"{self.score_mean:.2g} on average ({allowed.score_mean:g}); "
            f"features by {self.feature_error:.2%} ({allowed.feature_error:.1%}); "
            f"best action the same for {self.top1_same:.0%}, top five {self.top5_overlap:.0%}, "
            f"decisions at {THRESHOLD} {self.agreement:.1%}"
            + ("" if self.trained else "; the network is untrained, so only its features are held to this")
        )

    def to_dict(self) -> dict[str, Any]:
        """For a manifest or JSON file."""
        return dataclasses.asdict(self)


def verify(
    engine: Engine, network: Any, inputs: Sequence[tuple[np.ndarray, np.ndarray]], precision: str, source: str
) -> Report:
    """Compare an engine with the torch network it was built from.

    Args:
        engine: to be checked.
        network: `ActionNetwork` on the CPU, fp32; run in eval mode.
        inputs: (frames (B, T, h, w, 3) uint8, rois (K, 5) float32) as `clips.engine_input` gives them.
        precision: which tolerance holds.
        source: what the clips are, for the report.
    """
    import torch

    reference, found, features = [], [], []
    network = network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        for frames, rois in inputs:
            expected = network.forward_trunk(torch.from_numpy(np.ascontiguousarray(frames)).to(device))
            scores = network.forward_head(expected, torch.from_numpy(rois).to(device))
            reference.append(scores.float().cpu().numpy())
            got = engine.run_trunk(frames)
            features.append((expected.float().cpu().numpy(), _as_array(got)))
            found.append(engine.run_head(got, rois))
    report = compare(
        np.concatenate(reference), np.concatenate(found), features, engine.description, precision, source
    )
    if is_trained(network):
        return report
    ok = bool(np.isfinite(np.concatenate(found)).all()) and report.feature_error <= TOLERANCES[precision].feature_error
    return dataclasses.replace(report, ok=ok, trained=False)


def is_trained(network: Any) -> bool:
    """Whether any batch norm has seen data: a running mean other than the zeros it starts with.

    Whoever gives random weights the statistics of a clip says so by `network.random_weights = True`.
    """
    if getattr(network, "random_weights", False):
        return False
    means = [buffer for name, buffer in network.named_buffers() if name.endswith("running_mean")]
    return not means or any(bool(mean.any()) for mean in means)


def compare(
    reference: np.ndarray, found: np.ndarray, features: Sequence[tuple[np.ndarray, np.ndarray]],
    engine: str, precision: str, source: str,
) -> Report:
    """Put two sets of scores (N, A), and pairs of features of any shape, into a `Report`."""
    difference = np.abs(reference.astype(np.float64) - found)
    off = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in features)
    norm = sum(float(np.square(a.astype(np.float64)).sum()) for a, _ in features)
    top = min(TOP, reference.shape[1])
    best_a, best_b = (np.argsort(-s, axis=1, kind="stable")[:, :top] for s in (reference, found))
    overlap = [len(set(a) & set(b)) / top for a, b in zip(best_a.tolist(), best_b.tolist())]
    feature_error = float(np.sqrt(off / norm)) if norm else float(off > 0)
    limit = TOLERANCES[precision]
    finite = bool(np.isfinite(found).all())
    found_numbers = Tolerance(float(difference.max()), float(difference.mean()), feature_error)
    numbers = dataclasses.asdict(found_numbers)
    return Report(
        engine=engine, precision=precision, clips=len(features), people=len(reference), source=source,
        feature_max=max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in features),
        score_max=found_numbers.score_max, score_mean=found_numbers.score_mean, feature_error=feature_error,
        top1_same=float((best_a[:, 0] == best_b[:, 0]).mean()), top5_overlap=float(np.mean(overlap)),
        agreement=float(((reference > THRESHOLD) == (found > THRESHOLD)).mean()),
        ok=finite and all(value <= getattr(limit, name) for name, value in numbers.items()),
    )


def refuse(report: Report) -> UserError:
    """The error for an engine out of tolerance; the caller raises it."""
    higher = {"int8": "bf16 or fp32", "bf16": "fp32", "fp16": "fp32"}.get(report.precision)
    advice = f"use a higher precision: --precision {higher}" if higher else "use --engine torch"
    return UserError(f"engine refused: {report.line()}; {advice}")


def _as_array(features: Any) -> np.ndarray:
    """Features of any engine as a float32 copy."""
    if isinstance(features, np.ndarray):
        return np.array(features, np.float32)
    return features.detach().float().cpu().numpy().copy()
