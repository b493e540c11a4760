"""How people walk and stand about in streets: bends and turns, strolling, stepping while they stand, in company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detector.rendering.acts.act import Act, Curve
from detector.rendering.acts.moving import act_walk
from detector.rendering.body import COLUMN
from detector.rendering.poses import ARM_COLUMNS, DEG, Poses, flat_feet, pulse, small_life, stand_pose

# Seconds round the key frame for which a bent path is worked out; beyond, people go on straight.
PATH_S = np.linspace(-6, 6, 601)


def _turn_once(rng: np.random.Generator, degrees: tuple[float, float], seconds: tuple[float, float]):
    """A function of seconds (T,) to the share 0 to 1 of one turn, and the turn in radians."""
    middle, length = rng.uniform(-0.9, 0.9), rng.uniform(*seconds)
    angle = rng.choice([-1, 1]) * rng.uniform(*degrees) * DEG

    def share(t: np.ndarray) -> np.ndarray:
        s = np.clip((t - middle) / length + 0.5, 0, 1)
        return s * s * (3 - 2 * s)

    return share, angle


def act_walk_bend(rng: np.random.Generator) -> Act:
    """Walk along a bend, or turn off or back on the way; half of them stroll."""
    act = act_walk(rng, stroll=rng.random() < 0.5)
    speed = float(np.diff(act.curve(np.array([0.0, 1.0]))[:, COLUMN["x"]])[0])
    if rng.random() < 0.5:
        rate = rng.choice([-1, 1]) * rng.uniform(10, 100) * DEG
        heading = rate * PATH_S
    else:
        share, angle = _turn_once(rng, (30, 180), (0.5, 1.6))
        heading = angle * (share(PATH_S) - share(np.zeros(1)))
    step = PATH_S[1] - PATH_S[0]
    path = np.stack([np.cumsum(np.cos(heading)), np.cumsum(-np.sin(heading))], 1) * speed * step
    path -= path[len(PATH_S) // 2]

    def curve(t: np.ndarray) -> Poses:
        p = act.curve(t)
        p[:, COLUMN["yaw"]] += np.interp(t, PATH_S, heading)
        for name, column in (("x", 0), ("z", 1)):
            p[:, COLUMN[name]] = np.interp(t, PATH_S, path[:, column])
        return p

    return replace(act, curve=curve, variant=f"bend {act.variant}")


def act_walk_stroll(rng: np.random.Generator) -> Act:
    """Walk slowly with short steps."""
    act = act_walk(rng, stroll=True)
    return replace(act, variant=f"stroll {act.variant}")


def act_stand_step(rng: np.random.Generator) -> Act:
    """Stand in a group: turn to someone with small steps, give way by up to half a metre, then stand on."""
    u = rng.uniform
    base, life = stand_pose(rng), small_life(rng, 0.04)
    share, angle = _turn_once(rng, (0, 170), (0.5, 1.4))
    away, far = u(0, 6.3), u(0, 0.5) * rng.choice([0, 1])
    rate, lift, phase, talks = u(1.0, 2.0), u(5, 28) * DEG, u(0, 1), rng.random() < 0.4

    def curve(t: np.ndarray) -> Poses:
        p = base + life(t)
        s = share(t)
        p[:, COLUMN["yaw"]] += angle * s
        p[:, COLUMN["x"]] += far * np.cos(away) * s
        p[:, COLUMN["z"]] += far * np.sin(away) * s
        busy = np.minimum(4 * s * (1 - s) * 1.5, 1)
        for side, shift in (("r", 0.0), ("l", 0.5)):
            step = busy * lift * pulse(rate * t + phase + shift, 2.0)
            p[:, COLUMN[f"{side}_hip"]] += step
            p[:, COLUMN[f"{side}_knee"]] += 1.6 * step
        if talks:
            p[:, ARM_COLUMNS] += 0.4 * np.sin(6.283 * rate * t[:, None] + np.arange(8) * (1 + phase))
        return flat_feet(p)

    return Act("stand", curve, variant="step")


def beside(curve: Curve, rng: np.random.Generator) -> Curve:
    """Someone in company: the same way at another moment of the step, 0.5 to 1 m to the side."""
    later, side, ahead = rng.uniform(-0.35, 0.35), rng.choice([-1, 1]) * rng.uniform(0.45, 1.0), rng.normal(0, 0.2)

    def shifted(t: np.ndarray) -> Poses:
        p = curve(t + later)
        start = curve(np.array([later]))[0] - curve(np.zeros(1))[0]
        p[:, COLUMN["x"]] += ahead - start[COLUMN["x"]]
        p[:, COLUMN["z"]] += side - start[COLUMN["z"]]
        return p

    return shifted
