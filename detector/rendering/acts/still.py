"""People who stay where they are: stand, sit, crouch, bend, lie."""

from __future__ import annotations

import numpy as np

from detector.rendering.acts.act import Act
from detector.rendering.body import COLUMN
from detector.rendering.poses import (
    ARM_COLUMNS,
    DEG,
    Poses,
    bend_pose,
    blend,
    both,
    crouch_pose,
    flat_feet,
    lie_pose,
    pose,
    pulse,
    sit_pose,
    small_life,
    smooth_noise,
    stand_pose,
)


def act_stand(rng: np.random.Generator) -> Act:
    """Stand: still, gesturing, shifting weight, turning on the spot, juggling a ball with a foot."""
    base, life, u = stand_pose(rng), small_life(rng), rng.uniform
    variant = str(rng.choice(["still", "talk", "shift", "turn", "juggle", "shuffle"], p=[.38, .19, .1, .1, .16, .07]))
    rate, size = u(0.5, 1.8), u(15, 65) * DEG
    phase, spin = u(0, 1), rng.normal(0, 0.5)
    feet = rng.choice(["r", "l"], 16) if rng.random() < 0.6 else np.repeat(["r"], 16)
    knee = rng.choice([0.3, 0.8, 1.6])  # a low tap, a kick, a kick from the thigh
    if variant == "juggle" and rng.random() < 0.7:  # arms out for balance, eyes on the ball
        base[ARM_COLUMNS] = pose(**both(arm=u(-15, 35), lift=u(15, 65), elbow=u(10, 80)))[ARM_COLUMNS]
        base[[COLUMN["nod"], COLUMN["bend"]]] = np.array([u(10, 40), u(5, 25)]) * DEG
    sway = smooth_noise(rng, 3, 0.08, 0.2, 0.8)

    def curve(t: np.ndarray) -> Poses:
        p = base + life(t)
        if variant == "talk":
            p[:, ARM_COLUMNS] += 0.5 * np.sin(6.283 * rate * t[:, None] + np.arange(8) * (1 + phase))
        elif variant == "shift":
            p[:, COLUMN["side"]] += 0.15 * np.sin(6.283 * 0.3 * t + phase * 6)
            p[:, COLUMN["roll"]] += 0.06 * np.sin(6.283 * 0.3 * t + phase * 6)
        elif variant == "turn":
            p[:, COLUMN["yaw"]] += spin * t
        elif variant == "juggle":
            lift = pulse(rate * t + phase, 2.0)
            foot = feet[np.floor(rate * t + phase).astype(int) % len(feet)]
            for s in "rl":
                p[:, COLUMN[f"{s}_hip"]] += lift * size * (foot == s)
                p[:, COLUMN[f"{s}_knee"]] += lift * size * knee * (foot == s)
                p[:, COLUMN[f"{s}_arm"]] += 0.25 * lift * (foot != s)
            p[:, [COLUMN["x"], COLUMN["z"], COLUMN["side"]]] += sway(t)
        elif variant == "shuffle":
            for s, shift in (("r", 0.0), ("l", 0.5)):
                lift = pulse(0.8 * t + phase + shift, 2.0) * 0.3
                p[:, COLUMN[f"{s}_hip"]] += lift
                p[:, COLUMN[f"{s}_knee"]] += lift * 1.5
        return flat_feet(p)

    return Act("stand", curve, props=("ball",) if variant == "juggle" else (), variant=variant)


def act_sit(rng: np.random.Generator) -> Act:
    """Sit on a chair, sofa, bed edge or the floor; sometimes having just sat down."""
    where = "chair" if rng.random() < 0.75 else "floor"
    base, life, u = sit_pose(rng, where), small_life(rng, 0.04), rng.uniform
    arrive = u(-1.3, -0.3) if where == "chair" and rng.random() < 0.15 else None
    before = stand_pose(rng)

    def curve(t: np.ndarray) -> Poses:
        p = np.repeat(base[None], len(t), 0)
        if arrive is not None:
            p = blend(t, [arrive - 0.9, arrive], [before, base])
        return flat_feet(p + life(t))

    prop = "chair" if where == "chair" and rng.random() < 0.8 else "floor"
    return Act("sit", curve, props=(prop,), variant=where, label_s=(-np.inf if arrive is None else arrive, np.inf))


CROUCHES = ("squat", "squats", "one knee", "both knees", "heels")


def act_crouch(rng: np.random.Generator) -> Act:
    """Crouch or kneel, or do squats while low."""
    kind = str(rng.choice(CROUCHES, p=[0.35, 0.2, 0.2, 0.15, 0.1]))
    base, life, u = crouch_pose(rng, "squat" if kind == "squats" else kind), small_life(rng, 0.05), rng.uniform
    rate, width, top = u(0.3, 0.7), u(0.15, 0.3), stand_pose(rng)
    top[ARM_COLUMNS] += 0.5 * (base - top)[ARM_COLUMNS]
    arrive = u(-1.4, -0.3) if kind != "squats" and rng.random() < 0.2 else None

    def curve(t: np.ndarray) -> Poses:
        p = np.repeat(base[None], len(t), 0)
        if kind == "squats":
            up = np.clip(0.5 - 0.5 * np.cos(6.283 * rate * (t - width * 0)), 0, 1)[:, None]
            p = p + up * (top - base)
        elif arrive is not None:
            p = blend(t, [arrive - 0.8, arrive], [top, base])
        return flat_feet(p + life(t))

    start = -np.inf if arrive is None else arrive
    low = (-0.3 / rate, 0.3 / rate) if kind == "squats" else (start, np.inf)
    shift = u(-0.2, 0.2) / rate if kind == "squats" else 0.0
    moved = (lambda t: curve(t + shift)) if shift else curve
    return Act("crouch/kneel", moved, variant=kind, label_s=(low[0] - shift, low[1] - shift))


def act_bend(rng: np.random.Generator) -> Act:
    """Bend down: hold, pick something up, or bow again and again; sometimes with a barbell."""
    base, top, life, u = bend_pose(rng), stand_pose(rng), small_life(rng, 0.04), rng.uniform
    kind = str(rng.choice(["hold", "pick", "bow", "lift"], p=[0.4, 0.3, 0.18, 0.12]))
    hold, pace, lean = u(0.15, 0.6), u(0.5, 1.2), u(-0.1, 0.1)
    if kind == "lift":
        for s in "rl":
            base[COLUMN[f"{s}_elbow"]], base[COLUMN[f"{s}_lift"]] = 0.03, u(12, 28) * DEG
            base[COLUMN[f"{s}_knee"]], base[COLUMN[f"{s}_hip"]] = 0.6, base[COLUMN["pitch"]] + 0.4
            base[COLUMN[f"{s}_arm"]] = base[COLUMN["pitch"]] + base[COLUMN["bend"]]

    def curve(t: np.ndarray) -> Poses:
        p = np.repeat(base[None], len(t), 0)
        if kind in ("pick", "bow"):
            times = [-hold - pace, -hold, hold, hold + pace]
            p = blend(t + lean, times, [top, base, base, top])
        return flat_feet(p + life(t))

    return Act("bend/bow (at the waist)", curve, props=("barbell",) if kind == "lift" else (), variant=kind,
               label_s=(-hold - 0.4 * pace, hold + 0.4 * pace) if kind in ("pick", "bow") else (-np.inf, np.inf))


def act_lie(rng: np.random.Generator) -> Act:
    """Lie on the floor or a bed."""
    base, life = lie_pose(rng), small_life(rng, 0.03)
    still = rng.uniform(0.1, 0.8)
    return Act("lie/sleep", lambda t: base + still * life(t), props=("bed",) if rng.random() < 0.3 else ("floor",),
               variant="lie")
