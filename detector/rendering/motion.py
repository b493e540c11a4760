"""What rendered people do: procedural kinematics of AVA's pose actions, and of waving and clapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detector.rendering.acts.act import Act
from detector.rendering.acts.art import act_dance, act_fight
from detector.rendering.acts.moving import act_fall, act_get_up, act_jump, act_run, act_walk
from detector.rendering.acts.still import act_bend, act_crouch, act_lie, act_sit, act_stand
from detector.rendering.body import COLUMN
from detector.rendering.poses import (
    DEG,
    Poses,
)


def with_hands(act: Act, kind: str, rng: np.random.Generator) -> Act:
    """The same act with the arms waving ("hand wave") or clapping ("hand clap")."""
    u = rng.uniform
    rate, phase = (u(0.6, 2.6), u(0, 6.3)) if kind == "hand wave" else (u(1.0, 3.8), u(0, 6.3))
    style, both, size = rng.integers(3), rng.random() < 0.4, u(15, 45) * DEG
    lift, elbow, arm = u(35, 100), u(40, 110), u(0, 50)
    overhead, clap_arm, clap_elbow = rng.random() < 0.12, u(15, 65), u(55, 105)

    def curve(t: np.ndarray) -> Poses:
        p = act.curve(t)
        a = np.sin(6.283 * rate * t + phase)
        for s in ("r", "l") if both or kind == "hand clap" else ("r",):
            c = {n: COLUMN[f"{s}_{n}"] for n in ("arm", "lift", "roll", "elbow")}
            if kind == "hand wave":
                p[:, [c["arm"], c["lift"], c["roll"], c["elbow"]]] = (
                    np.array([arm * 0.4, lift, 90, elbow]) if style < 2 else np.array([arm, 140, 20, 20])) * DEG
                p[:, c["elbow" if style == 0 else "lift" if style == 2 else "roll"]] += 1.3 * size * a
                p[:, c["lift"]] += 0.3 * size * a
            else:
                goal = [150, 10, -10, 40] if overhead else [clap_arm, 0, -25, clap_elbow]
                p[:, [c["arm"], c["lift"], c["roll"], c["elbow"]]] = np.array(goal) * DEG
                p[:, c["roll"]] += size * 0.8 * a
                p[:, c["lift"]] += size * 0.5 * (1 + a)
        return p

    return replace(act, curve=curve, extra=(*act.extra, kind), variant=f"{act.variant}+{kind}")


ACTS: dict[str, Callable[[np.random.Generator], Act]] = {
    "stand": act_stand, "walk": act_walk, "run/jog": act_run, "sit": act_sit, "crouch/kneel": act_crouch,
    "bend/bow (at the waist)": act_bend, "lie/sleep": act_lie, "fall down": act_fall, "get up": act_get_up,
    "jump/leap": act_jump, "dance": act_dance, "martial art": act_fight,
}
