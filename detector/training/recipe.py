"""The numbers of a training run, and the learning rate that follows from them. Pure arithmetic, no torch.

A `Recipe` holds what changes the result; `Execution` holds what only changes how fast it comes. A run may be
resumed with another `Execution`, never with another `Recipe`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from detector.errors import UserError

if TYPE_CHECKING:
    from detector.slowfast.precision import Precision

Schedule = Literal["cosine", "steps", "plateau", "constant"]
Norm = Literal["local", "sync", "frozen"]


@dataclass(frozen=True)
class Recipe:
    """What a network is trained with.

    Attributes:
        loss: "bce" (independent sigmoids: AVA, Charades) or "softmax" (one answer: Kinetics).
        label_smoothing: share of each target that is spread evenly.
        class_weights: A factors of the classes' losses, or () for all 1.
        optimizer: "sgd" with momentum as the paper does, or "adamw".
        rate: base learning rate, for a batch of `rate_batch` clips.
        rate_batch: the rate is scaled by batch / rate_batch (linear scaling rule, Goyal et al. 2017); 0: not.
        schedule: "cosine" (half period), "steps" (x factor at each milestone), "plateau" (x factor when the
            validation has not improved `patience` times in a row), "constant".
        milestones: shares of the run, 0 to 1, at which "steps" lowers the rate.
        factor: of "steps" and "plateau".
        patience: validations without improvement before "plateau" lowers the rate.
        warmup_steps: updates over which the rate grows linearly.
        warmup_start: share of the rate that the warm-up starts with.
        momentum, nesterov, weight_decay: of SGD (AdamW takes the weight decay).
        norm_weight_decay: weight decay of batch-norm weights and biases.
        epochs: passes over the data; ignored where `steps` is given.
        steps: updates, or 0 to follow from epochs.
        batch: clips an update, over all processes and accumulated parts together.
        accumulation: parts that each process's share is computed in, to save memory.
        precision: "fp32", or the autocast type.
        clip_norm: largest norm of the gradient, 0 for none.
        ema_decay: of the weights' moving average that is validated and kept; 0 for none.
        norm: batch-norm statistics from each process's own part of the batch ("local", as the paper), over all
            processes ("sync", GPUs only), or left as they are ("frozen").
        frozen: patterns of parameter names (`*` and `?` as in a shell) that are not trained; batch norms in
            there keep their statistics.
        rate_factors: (pattern, factor) pairs; the first that fits a parameter's name scales its rate.
        validate_every: updates between validations, 0 for once an epoch.
        best_metric: the validation figure that chooses the best checkpoint (largest wins).
        seed: of the order of clips, augmentation and dropout.
        causal: the network looks back only (its weights have the same names and shapes as one's that does not).
        clip_frames: frames of a causal network's training clips; 0 for as many as its head averages.
        distill: the teacher's name or path, "" for none.
        distill_scores, distill_features: shares of the teacher's scores and features beside the loss.
    """

    loss: Literal["bce", "softmax"] = "bce"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    optimizer: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.1
    rate_batch: int = 0
    schedule: Schedule = "cosine"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    patience: int = 3
    warmup_steps: int = 0
    warmup_start: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    norm_weight_decay: float = 0.0
    epochs: float = 1.0
    steps: int = 0
    batch: int = 8
    accumulation: int = 1
    precision: Precision = "fp32"
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    norm: Norm = "local"
    frozen: tuple[str, ...] = ()
    rate_factors: tuple[tuple[str, float], ...] = ()
    validate_every: int = 0
    best_metric: str = "mAP"
    seed: int = 0
    causal: bool = False
    clip_frames: int = 0
    distill: str = ""
    distill_scores: float = 1.0
    distill_features: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch", "accumulation"):
            if getattr(self, name) < 1:
                raise UserError(f"recipe: {name} is {getattr(self, name)}, expected 1 or more")
        for name in ("rate", "epochs"):
            if not getattr(self, name) > 0:
                raise UserError(f"recipe: {name} is {getattr(self, name)}, expected more than 0")

    def total_steps(self, num_samples: int) -> int:
        """Updates of the whole run over a data set of so many clips; at least 1."""
        return self.steps or max(1, round(self.epochs * num_samples / self.batch))

    def steps_per_epoch(self, num_samples: int) -> int:
        """Updates that see each clip about once; at least 1."""
        return max(1, round(num_samples / self.batch))

    def rate_at(self, step: int, total_steps: int, plateau_drops: int = 0) -> float:
        """Learning rate of an update.

        Args:
            step: 0-based update.
            total_steps: n_max.
            plateau_drops: how often "plateau" has lowered the rate so far.

        Returns:
            "cosine": rate * 0.5 * (cos(pi * n / n_max) + 1), section 4 of the paper. During warm-up the line
            from `warmup_start * rate` to the schedule's value at the warm-up's end (Goyal et al. 2017).
        """
        if step < self.warmup_steps:
            end = self._scheduled(self.warmup_steps, total_steps, plateau_drops)
            start = self.warmup_start * self.scaled_rate
            return start + (end - start) * step / self.warmup_steps
        return self._scheduled(step, total_steps, plateau_drops)

    @property
    def scaled_rate(self) -> float:
        """The base rate for this batch."""
        return self.rate * (self.batch / self.rate_batch if self.rate_batch else 1.0)

    def _scheduled(self, step: int, total_steps: int, plateau_drops: int) -> float:
        if self.schedule == "cosine":
            return self.scaled_rate * 0.5 * (math.cos(math.pi * min(step / total_steps, 1.0)) + 1.0)
        if self.schedule == "steps":
            passed = sum(step >= share * total_steps for share in self.milestones)
            return self.scaled_rate * self.factor**passed
        if self.schedule == "plateau":
            return self.scaled_rate * self.factor**plateau_drops
        return self.scaled_rate

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint or JSON file keeps them."""
        return asdict(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """`name: theirs -> ours` for each number in which a stored recipe differs."""
        ours = Recipe().to_dict() | self.to_dict()
        theirs = Recipe().to_dict() | other
        return [f"{k}: {theirs[k]} -> {v}" for k, v in ours.items() if _plain(theirs[k]) != _plain(v)]

    def with_numbers(self, texts: list[str]) -> Recipe:
        """Change fields given as `name=value` texts, as a command line does.

        Raises:
            UserError: no such field, or a value that does not fit its type.
        """
        changes: dict[str, Any] = {}
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in known or not (value or isinstance(known[name], tuple)):
                raise UserError(f"--set {text}: expected NAME=VALUE with NAME one of {', '.join(known)}")
            try:
                changes[name] = _parse(value, known[name])
            except ValueError:
                raise UserError(f"--set {name}: got {value!r}, expected something like {known[name]!r}") from None
        return replace(self, **changes)


@dataclass(frozen=True)
class Execution:
    """How a run uses the machine; changes its speed, not its result.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1".
        workers: processes that load clips; 0 loads them in the training process.
        prefetch: batches that each worker loads ahead.
        threads: CPU threads of the training process, 0 for PyTorch's own choice.
        channels_last: memory layout that GPUs (and bf16 on CPUs) convolve faster in.
        compile: run the network through torch.compile.
        checkpoint_every: updates between checkpoints; they are also written at each validation and at the end.
        log_every: updates between lines of the log.
        progress: show a progress bar.
    """

    device: str = "auto"
    workers: int = 0
    prefetch: int = 2
    threads: int = 0
    channels_last: bool = False
    compile: bool = False
    checkpoint_every: int = 200
    log_every: int = 10
    progress: bool = True


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _parse(text: str, like: Any) -> Any:
    if isinstance(like, bool):
        if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
            raise ValueError(text)
        return text.lower() in {"true", "1", "yes"}
    if isinstance(like, tuple):
        return tuple(_scalar_or_pair(part) for part in text.split(",") if part)
    return type(like)(text)


def _scalar_or_pair(text: str) -> Any:
    if ":" in text:
        pattern, factor = text.rsplit(":", 1)
        return pattern, float(factor)
    try:
        return float(text)
    except ValueError:
        return text
