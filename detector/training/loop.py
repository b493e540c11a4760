"""The training loop: synchronised SGD on clips, with checkpoints that resume exactly.

It knows networks that take (frames, ROI rows) and data sets of clips; nothing of file formats or data sets' names.

Sums instead of means make the parts add up: each part of a batch, in whichever process, back-propagates its *sum*
of losses; the gradient is divided by the count of the whole batch afterwards. So two processes with half a batch
each give what one gives with the whole (up to rounding; with `norm="local"` batch norm still sees its own part only,
as in the paper, and dropout draws differ).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detector.data.batches import Batch, ClipDataset
from detector.errors import UserError
from detector.slowfast.precision import autocast, watch_bf16_on_cpu
from detector.training.batches import ClipOrder, create_loader, next_batch
from detector.training.checkpoints import read_checkpoint, write_checkpoint
from detector.training.distillation import Distillation
from detector.training.distributed import World, join_world
from detector.training.interrupts import Interrupts
from detector.training.journal import Journal
from detector.training.losses import Loss, create_loss
from detector.training.parameters import MovingAverage, create_optimizer, freeze
from detector.training.recipe import Execution, Recipe

Validate = Callable[[nn.Module], dict[str, float]]

# One bad batch may be a broken clip; several in a row are a diverged network.
BAD_STEPS_ALLOWED = 5


@dataclass
class TrainingState:
    """Where a run stands; everything else in a checkpoint is tensors.

    Attributes:
        step: finished updates.
        best: the best value of `Recipe.best_metric` so far, and the update it came from.
        best_metrics: all figures of that validation.
        plateau_drops, stale: of the plateau schedule: how often lowered, validations without improvement.
        window: sum of losses and number of updates since the last line of the log.
        skipped: updates left out because their loss or gradient was not a number.
    """

    step: int = 0
    best: float = -math.inf
    best_step: int = -1
    best_metrics: dict[str, float] = field(default_factory=dict)
    plateau_drops: int = 0
    stale: int = 0
    window: tuple[float, int] = (0.0, 0)
    skipped: int = 0


def train(
    network: nn.Module, dataset: ClipDataset, recipe: Recipe, folder: Path, *,
    execution: Execution | None = None, validate: Validate | None = None, loss: Loss | None = None,
    sample_weights: np.ndarray | None = None, distillation: Distillation | None = None,
) -> TrainingState:
    """Train a network, going on where an earlier run in the folder stopped.

    Args:
        network: its `forward(frames (B, T, H, W, 3) uint8, rois (K, 5) or None, activate=False)` gives logits (K, A).
            At the end it holds the weights of the best validation (without validation: the last, averaged if the
            recipe averages).
        dataset: see `detector.training.batches.ClipDataset`.
        recipe: what changes the result.
        folder: gets last.pt, best.pt, log.jsonl, curves.png, tensorboard/.
        execution: what changes the speed.
        validate: gives figures of the (averaged) network in evaluation mode; called by every process, rank 0's
            answer counts. Its `note`, if it has one, is told beside them.
        loss: in place of the recipe's; see `detector.training.losses`.
        sample_weights: (len(dataset),) chance of each clip, drawn with replacement.
        distillation: what a teacher adds; clips may then have frames that only it sees.

    Returns:
        Where the run ended.

    Raises:
        UserError: the folder holds a run with another recipe, the loss is not a number several times in a row,
            the device is not there.
        KeyboardInterrupt: Ctrl-C; the run was saved first.
    """
    execution = execution or Execution()
    with join_world(execution.device) as world:
        trainer = Trainer(network, dataset, recipe, Path(folder), execution, world)
        trainer.validate, trainer.sample_weights = validate, sample_weights
        trainer.distillation = distillation
        if distillation is not None:
            distillation.teacher.to(world.device)
        if loss is not None:
            trainer.loss = loss
        return trainer.run()


class Trainer:
    """One run of `train`; use that."""

    validate: Validate | None = None
    sample_weights: np.ndarray | None = None
    distillation: Distillation | None = None

    def __init__(
        self, network: nn.Module, dataset: ClipDataset, recipe: Recipe, folder: Path, execution: Execution, world: World
    ):
        if not len(dataset):
            raise UserError("training: the data set holds no clip")
        if execution.threads:
            torch.set_num_threads(execution.threads)
        self.network, self.dataset, self.recipe, self.folder = network.to(world.device), dataset, recipe, folder
        self.execution, self.world = execution, world
        self.total_steps = recipe.total_steps(len(dataset))
        self.still_norms = freeze(network, recipe)
        watch_bf16_on_cpu(network, recipe.precision, world.device)
        self.model = self._wrapped(network)
        self.optimizer = create_optimizer(network, recipe)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "fp16")
        self.average = MovingAverage(network, recipe.ema_decay) if recipe.ema_decay else None
        self.loss = create_loss(recipe)
        self.state = TrainingState()
        self.bad_in_a_row = 0

    def run(self) -> TrainingState:
        """Train to the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        first = self.folder if self.world.is_first else None
        self.journal = Journal(first, self.state.step, self.total_steps, self.execution.progress)
        if self.state.step:
            self.journal.say(f"going on after step {self.state.step} of {self.total_steps} in {self.folder}")
        try:
            with Interrupts() as self.interrupts:
                self._run_steps()
        finally:
            self.journal.close()
        self._keep_best_weights()
        return self.state

    def _run_steps(self) -> None:
        if self.state.step >= self.total_steps:
            return
        order = ClipOrder(
            len(self.dataset), self.recipe, self.world, self.state.step, self.total_steps, self.sample_weights
        )
        loader = create_loader(self.dataset, order, self.execution, pin=self.world.device.type == "cuda")
        batches = iter(loader)
        every = self.recipe.validate_every or self.recipe.steps_per_epoch(len(self.dataset))
        while self.state.step < self.total_steps:
            stopping = self._update(batches)
            step, finished = self.state.step, self.state.step == self.total_steps
            if self.validate is not None and (step % every == 0 or finished) and not stopping:
                stopping = self._validate()
            if finished or stopping or step % every == 0 or step % self.execution.checkpoint_every == 0:
                self._save()
            if stopping and not finished:
                self.journal.say(f"saved after step {step}; the same command goes on from there")
                raise KeyboardInterrupt

    def _update(self, batches: Iterator[Batch]) -> bool:
        """Do one update; returns whether some process was asked to stop."""
        recipe, state, device = self.recipe, self.state, self.world.device
        rate = recipe.rate_at(state.step, self.total_steps, state.plateau_drops)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        # Dropout's draws follow from the update's number, so a checkpoint needs no generator states.
        seed = np.random.SeedSequence([recipe.seed, state.step, self.world.rank]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed) & 0x7FFFFFFFFFFFFFFF)
        self._train_mode()
        totals = torch.zeros(3, dtype=torch.float64, device=device)
        for part in range(recipe.accumulation):
            frames, rois, targets = next_batch(batches)
            frames, targets = frames.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            rois = None if rois is None else rois.to(device, non_blocking=True)
            with self._gradients_meet(part == recipe.accumulation - 1):
                loss_sum, count = self._forward(frames, rois, targets)
                self.scaler.scale(loss_sum).backward()
            totals[0] += loss_sum.detach()
            totals[1] += count
        totals[2] = self.interrupts.requested
        loss_sum_all, count_all, stop = self.world.sum(totals).tolist()
        self._apply(loss_sum_all, count_all)
        self._log(loss_sum_all / max(count_all, 1.0), rate)
        return stop > 0

    def _forward(
        self, frames: torch.Tensor, rois: torch.Tensor | None, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the losses of a part of the batch, and their count."""
        precision, teacher = self.recipe.precision, self.distillation
        with autocast(precision, self.world.device):
            logits = self.model(frames if teacher is None else teacher.students_part(frames), rois, activate=False)
        loss_sum, count = self.loss(logits, targets)
        if teacher is not None:
            loss_sum = loss_sum + count * teacher.loss(logits, frames, rois, precision)
        return loss_sum, count

    def _apply(self, loss_sum: float, count: float) -> None:
        """Divide the gradient by the batch's count and step, unless it is not a number."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        good = count > 0 and math.isfinite(loss_sum)
        if good:
            self.scaler.unscale_(self.optimizer)
            # DistributedDataParallel has averaged over processes; the sum is wanted.
            torch._foreach_mul_(gradients, self.world.size / count)
            norm = torch.nn.utils.get_total_norm(gradients)
            if self.recipe.clip_norm:
                torch.nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip_norm, norm)
            # With fp16 the scaler leaves out updates that overflow, as it should.
            good = self.scaler.is_enabled() or bool(norm.isfinite())
        if good:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.average is not None:
                self.average.update(self.network)
        elif count > 0:
            self._count_bad()
        self.bad_in_a_row = self.bad_in_a_row if not good and count > 0 else 0
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1

    def _count_bad(self) -> None:
        self.state.skipped += 1
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= BAD_STEPS_ALLOWED:
            raise UserError(
                f"training diverged: the loss was not a number {BAD_STEPS_ALLOWED} times in a row up to step "
                f"{self.state.step + 1}; start anew in another folder with a lower --set rate= or more warmup_steps"
            )

    def _log(self, loss: float, rate: float) -> None:
        state, step = self.state, self.state.step
        if math.isfinite(loss):
            state.window = (state.window[0] + loss, state.window[1] + 1)
        self.journal.update(step, loss, rate)
        if step % self.execution.log_every == 0 or step == self.total_steps:
            if state.window[1]:
                self.journal.log(step, loss=state.window[0] / state.window[1], rate=rate, skipped=state.skipped)
            state.window = (0.0, 0)

    def _validate(self) -> bool:
        """Score the (averaged) network and keep it if it is the best; returns whether Ctrl-C came."""
        assert self.validate is not None
        state, name = self.state, self.recipe.best_metric
        self.network.eval()
        self.interrupts.at_once = True
        try:
            with self._averaged():
                with torch.inference_mode():
                    metrics = self.world.share(self.validate(self.network))
                if name not in metrics:
                    raise UserError(f"recipe: best_metric is {name!r}, but the validation gives {', '.join(metrics)}")
                # Of equals the later: it has seen more, and figures on few clips are soon at their top.
                better, higher = metrics[name] >= state.best, metrics[name] > state.best
                if better:
                    state.best, state.best_step, state.best_metrics = metrics[name], state.step, metrics
                    self._save_best()
        except KeyboardInterrupt:
            if self.world.size > 1:
                raise
            return True
        finally:
            self.interrupts.at_once = False
        state.stale = 0 if higher else state.stale + 1
        if self.recipe.schedule == "plateau" and state.stale >= self.recipe.patience:
            state.stale, state.plateau_drops = 0, state.plateau_drops + 1
        counted = getattr(self.validate, "note", "")
        note = " (best so far)" if better else ""
        self.journal.log_validation(state.step, metrics, (f" ({counted})" if counted else "") + note)
        return False

    def _save(self) -> None:
        if not self.world.is_first:
            return
        average = None if self.average is None else {"values": self.average.values, "updates": self.average.updates}
        write_checkpoint(self.folder / "last.pt", {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(), "average": average, "state": vars(self.state),
            "recipe": self.recipe.to_dict(), "num_samples": len(self.dataset),
        })

    def _save_best(self) -> None:
        if self.world.is_first:
            write_checkpoint(self.folder / "best.pt", {
                "network": self.network.state_dict(), "step": self.state.step, "metrics": self.state.best_metrics,
            })

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        content = read_checkpoint(path)
        changed = self.recipe.differences(content["recipe"])
        if content["num_samples"] != len(self.dataset):
            changed.append(f"clips: {content['num_samples']} -> {len(self.dataset)}")
        if changed:
            raise UserError(f"{self.folder} holds a run with other numbers ({'; '.join(changed)}); use another folder")
        try:
            self.network.load_state_dict(content["network"])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"{self.folder} holds a run of another network ({reason}); use another folder") from None
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.updates = content["average"]["updates"]
            for name, value in content["average"]["values"].items():
                self.average.values[name].copy_(value)
        self.state = TrainingState(**content["state"])

    def _keep_best_weights(self) -> None:
        self.world.share(True)  # the first process has written its file before the others read it
        path = self.folder / "best.pt"
        if self.state.best_step >= 0 and path.exists():
            self.network.load_state_dict(read_checkpoint(path)["network"])
        elif self.average is not None:
            self.network.load_state_dict(self.average.values)
        self.network.eval()

    def _wrapped(self, network: nn.Module) -> nn.Module:
        if self.execution.channels_last:
            for parameter in network.parameters():
                if parameter.ndim == 5:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        if self.recipe.norm == "sync" and self.world.size > 1:
            if self.world.device.type != "cuda":
                raise UserError("recipe: norm=sync needs GPUs (PyTorch's SyncBatchNorm); use norm=local or frozen")
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        model: Any = torch.compile(network) if self.execution.compile else network
        if self.world.size > 1:
            ids = [self.world.device.index] if self.world.device.type == "cuda" else None
            model = nn.parallel.DistributedDataParallel(model, device_ids=ids)
        return model

    def _train_mode(self) -> None:
        self.model.train()
        for norm in self.still_norms:
            norm.eval()

    def _gradients_meet(self, last_part: bool) -> AbstractContextManager[Any]:
        if self.world.size > 1 and not last_part:
            return self.model.no_sync()  # type: ignore[operator]
        return nullcontext()

    def _averaged(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.average is None else self.average.applied_to(self.network)
