"""Learning from a clip network as well as from labels: a frozen teacher that may look ahead, for causal networks.

The teacher sees the same video round the same key frame, as it was trained to: half of it after that moment. The
student, which looks back only, sees none of that and is drawn towards the teacher's scores and features ("Generalized
Distillation", Lopez-Paz et al., ICLR 2016: what is known in training alone).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.errors import UserError
from detector.sampling import Sampling
from detector.slowfast.network import ActionNetwork
from detector.slowfast.precision import Precision, autocast
from detector.weights.records import ActionModel


class Distillation:
    """What a teacher adds to the loss of a training; see `Trainer`.

    Attributes:
        clip_frames: frames of a training clip that the student sees, from the clip's start.
    """

    def __init__(
        self, teacher_model: ActionModel, teacher: ActionNetwork, student_model: ActionModel, student: ActionNetwork,
        score_weight: float = 1.0, feature_weight: float = 1.0,
    ) -> None:
        """
        Args:
            teacher_model, teacher: its record and network; kept frozen and in evaluation mode.
            student_model, student: those of the network in training; its head's input is watched.
            score_weight, feature_weight: shares of the two parts; 0 leaves one out.

        Raises:
            UserError: teacher and student see time or pictures differently, or have nothing in common to compare.
        """
        self.teacher = teacher.eval().requires_grad_(False)
        self.clip_frames = student_model.sampling.num_frames
        self._teacher_frames = teacher_model.sampling.num_frames
        _check_views(teacher_model, student_model)
        names = {action.name: column for column, action in enumerate(teacher_model.labels)}
        known = [(column, names[a.name]) for column, a in enumerate(student_model.labels) if a.name in names]
        if student.config.activation == "softmax" and len(known) < len(student_model.labels):
            known = []  # a softmax over other classes says nothing
        self._columns = [c for c, _ in known], [c for _, c in known]
        self._softmax = student.config.activation == "softmax"
        same_size = teacher.config.feature_channels == student.config.feature_channels
        same_size = same_size and teacher.config.feature_stride == student.config.feature_stride
        self.score_weight = score_weight if known and teacher.config.head == student.config.head else 0.0
        self.feature_weight = feature_weight if same_size else 0.0
        if not (self.score_weight or self.feature_weight):
            raise UserError(
                f"--distill {teacher_model.name}: shares neither actions nor the size of its features with the network "
                "to train, or both shares are 0; expected a teacher with one of them in common"
            )
        self._features: Tensor | None = None
        student.head.register_forward_pre_hook(self._remember)

    @property
    def about(self) -> str:
        """One line for a person."""
        parts = [f"scores of {len(self._columns[0])} actions"] * bool(self.score_weight)
        return f"distillation: {' and '.join(parts + ['features'] * bool(self.feature_weight))}"

    def students_part(self, frames: Tensor) -> Tensor:
        """The frames that the student sees: those up to the key frame."""
        return frames[:, : self.clip_frames]

    def loss(self, logits: Tensor, frames: Tensor, rois: Tensor | None, precision: Precision) -> Tensor:
        """How far the student's last answer is from the teacher's: a mean, to be weighed like the mean of the loss.

        Args:
            logits: (K, A) of the student.
            frames: (B, T, H, W, 3) uint8, the whole training clip.
            rois: as the student got them.
            precision: of the teacher's run.
        """
        assert self._features is not None
        with torch.no_grad(), autocast(precision, frames.device):
            features = self.teacher.forward_trunk(frames[:, -self._teacher_frames :])
            wanted = self.teacher.forward_head(features, rois).float()
        total = logits.new_zeros((), dtype=torch.float32)
        if self.feature_weight:
            features = features.float()
            error = (self._features.float() - features).square().mean() / features.square().mean().clamp_min(1e-12)
            total = total + self.feature_weight * error
        if self.score_weight and len(logits):
            mine, theirs = logits.float()[:, self._columns[0]], wanted[:, self._columns[1]]
            if self._softmax:
                error = -(theirs * mine.log_softmax(1)).sum(1).mean()
            else:
                error = F.binary_cross_entropy_with_logits(mine, theirs.clamp(0, 1))
            total = total + self.score_weight * error
        self._features = None
        return total

    def _remember(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if head.training:
            self._features = inputs[0]


def training_sampling(student: ActionModel, teacher: ActionModel | None, keyed: bool) -> Sampling:
    """Which moments a training clip shows: the student's, and after the key frame what the teacher sees besides.

    Args:
        student: its record.
        teacher: None where there is none.
        keyed: whether clips are of key frames; those of whole videos have none, and the teacher sees their end.
    """
    if teacher is None or not keyed:
        return student.sampling
    after = teacher.sampling.num_frames - 1 - teacher.sampling.key_index
    before = student.sampling.key_index + 1
    return replace(student.sampling, num_frames=before + after, ahead=after)


def _check_views(teacher: ActionModel, student: ActionModel) -> None:
    if type(teacher.view) is not type(student.view):
        raise UserError(f"--distill {teacher.name}: sees another view ({teacher.view}), expected {student.view}")
    if abs(teacher.sampling.step_s - student.sampling.step_s) > 1e-6:
        raise UserError(
            f"--distill {teacher.name}: sees a frame each {teacher.sampling.step_s:.3f} s, expected "
            f"{student.sampling.step_s:.3f} s as the network to train"
        )
    if student.sampling.ahead != 0:
        raise UserError(f"--distill {teacher.name}: is for networks that look back only; add --causal")
    if student.sampling.num_frames < teacher.sampling.key_index + 1:
        raise UserError(
            f"--distill {teacher.name}: looks at {teacher.sampling.key_index + 1} frames up to the key frame, the "
            f"training clips have {student.sampling.num_frames}; expected as many or more (--clip-frames)"
        )
