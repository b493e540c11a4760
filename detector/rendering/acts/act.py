"""What a rendered person does, as a curve over time.

Each `Act` is asked for poses at any seconds relative to the key frame (0) and answers with (T, 30) angles, columns as
in `body.POSE`. Amplitudes, speeds, phases and styles are drawn once per act.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detector.rendering.poses import Poses, swap_sides

Curve = Callable[[np.ndarray], Poses]


@dataclass(frozen=True)
class Act:
    """One person's movement over time.

    Attributes:
        pose: AVA's name of the pose action that holds at second 0.
        curve: seconds (T,) to poses (T, 30).
        extra: AVA's names of further actions at second 0 (waving, clapping).
        props: things the scene should add: "chair", "bed", "barbell", "ball", "floor".
        variant: which style of the action it is.
        label_s: seconds round 0 during which pose and extra hold.
        camera_moves: the camera goes along with the person, who stays in his place in the picture.
    """

    pose: str
    curve: Curve
    extra: tuple[str, ...] = ()
    props: tuple[str, ...] = ()
    variant: str = ""
    label_s: tuple[float, float] = (-np.inf, np.inf)
    camera_moves: bool = False


def mirrored(act: Act) -> Act:
    """The same act with left and right exchanged."""
    return replace(act, curve=lambda t: swap_sides(act.curve(t)))


def between(act: Act, other: Act, share: float) -> Act:
    """An act `share` (0 to 1) of the way to another of the same pose, with the first one's props."""
    label_s = max(act.label_s[0], other.label_s[0]), min(act.label_s[1], other.label_s[1])
    return replace(act, curve=lambda t: (1 - share) * act.curve(t) + share * other.curve(t), label_s=label_s,
                   variant=f"{act.variant}~{other.variant}")
