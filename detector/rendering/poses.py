"""Poses of rendered people, and how to move between them: angles with columns as in `body.POSE`.

Amplitudes and styles are drawn once per call. Nothing here knows of pixels.
"""

from __future__ import annotations

import numpy as np

from detector.rendering.body import COLUMN

Poses = np.ndarray
DEG = np.pi / 180


def pose(**degrees: float) -> np.ndarray:
    p = np.zeros(len(COLUMN))
    for name, value in degrees.items():
        p[COLUMN[name]] = value if name in ("x", "z", "air") else value * DEG
    return p


def both(**degrees: float) -> dict[str, float]:
    return {f"{side}_{name}": value for name, value in degrees.items() for side in "rl"}


def flat_feet(poses: Poses) -> Poses:
    """Turn the ankles so that soles stay level, within what ankles can."""
    for side in "rl":
        level = poses[:, COLUMN["pitch"]] - poses[:, COLUMN[f"{side}_hip"]] + poses[:, COLUMN[f"{side}_knee"]]
        poses[:, COLUMN[f"{side}_ankle"]] = np.clip(level, -40 * DEG, 40 * DEG)
    return poses


def smooth_noise(rng: np.random.Generator, columns: int, size: float, slowest: float = 0.1, fastest: float = 0.9):
    """A function of seconds (T,) to (T, columns): sums of slow sines with amplitude about `size`."""
    f = rng.uniform(slowest, fastest, (3, columns))
    phase = rng.uniform(0, 6.3, (3, columns))
    amplitude = rng.normal(0, size / 1.7, (3, columns))
    return lambda t: (amplitude * np.sin(6.283 * f * t[:, None, None] + phase)).sum(1)


def blend(t: np.ndarray, times: list[float], poses: list[np.ndarray], power: float = 1.0) -> Poses:
    """Move from pose to pose, each reached at its time, with smooth starts and ends; power > 1 starts late."""
    out = np.repeat(poses[0][None], len(t), 0)
    for start, end, before, after in zip(times[:-1], times[1:], poses[:-1], poses[1:], strict=True):
        s = np.clip((t - start) / max(end - start, 1e-3), 0, 1) ** power
        s = s * s * (3 - 2 * s)
        out = np.where((t > start)[:, None], before + s[:, None] * (after - before), out)
    return out


def pulse(phase: np.ndarray, sharp: float) -> np.ndarray:
    """0 to 1 to 0 once per unit of phase, narrower when sharp."""
    return np.maximum(np.sin(np.pi * (phase % 1.0)), 0) ** sharp


def swap_sides(p: np.ndarray) -> np.ndarray:
    q = p.copy()
    q[..., 6:15], q[..., 15:24] = p[..., 15:24], p[..., 6:15]
    for name in ("side", "twist", "tilt", "turn", "roll", "yaw", "z"):
        q[..., COLUMN[name]] *= -1
    return q


ARM_COLUMNS = [COLUMN[f"{s}_{n}"] for s in "rl" for n in ("arm", "lift", "roll", "elbow")]
SPINE_COLUMNS = [COLUMN[n] for n in ("bend", "side", "twist", "nod", "tilt", "turn")]
LEG_COLUMNS = [COLUMN[f"{s}_{n}"] for s in "rl" for n in ("hip", "abduct", "rotate", "knee")]


def small_life(rng: np.random.Generator, legs: float = 0.03):
    """Small movements of someone who keeps still: head, arms, sometimes gestures."""
    arms = rng.choice([0.03, 0.12, 0.45], p=[0.5, 0.3, 0.2])
    quick = rng.uniform(0.4, 1.6)
    arm, spine = smooth_noise(rng, 8, arms, 0.1, quick), smooth_noise(rng, 6, rng.choice([0.04, 0.12]), 0.05, 0.6)
    leg = smooth_noise(rng, 8, legs, 0.05, 0.5)

    def add(t: np.ndarray) -> np.ndarray:
        out = np.zeros((len(t), len(COLUMN)))
        out[:, ARM_COLUMNS], out[:, SPINE_COLUMNS], out[:, LEG_COLUMNS] = arm(t), spine(t), leg(t)
        return out

    return add


def arms_pose(rng: np.random.Generator) -> np.ndarray:
    """Arms as people hold them while doing nothing with them."""
    u = rng.uniform
    kind = rng.choice(9, p=[0.34, 0.1, 0.1, 0.08, 0.1, 0.08, 0.06, 0.08, 0.06])
    p = pose(**both(arm=u(-12, 12), lift=u(2, 14), elbow=u(2, 30)))
    if kind == 1:  # pockets
        p = pose(**both(arm=u(-25, 0), lift=u(8, 20), elbow=u(35, 60), roll=-20))
    elif kind == 2:  # crossed
        p = pose(**both(arm=u(25, 45), lift=u(0, 12), elbow=u(85, 110), roll=u(-75, -50)))
    elif kind == 3:  # on the hips
        p = pose(**both(arm=u(-25, -5), lift=u(35, 50), elbow=u(70, 100), roll=u(-60, -35)))
    elif kind == 4:  # phone or paper before the chest
        p = pose(**both(arm=u(10, 45), lift=u(0, 15), elbow=u(80, 125), roll=u(-35, -5)))
    elif kind == 5:  # one hand to the head
        p += pose(r_arm=u(50, 80), r_elbow=u(100, 135), r_lift=u(0, 30))
    elif kind == 6:  # hands folded
        p = pose(**both(arm=u(5, 25), lift=u(0, 8), elbow=u(35, 60), roll=u(-45, -25)))
    elif kind == 7:  # carrying at one side
        p += pose(r_elbow=u(30, 100), r_arm=u(-10, 20))
    elif kind == 8:  # behind the back
        p = pose(**both(arm=u(-40, -25), lift=u(8, 15), elbow=u(30, 60), roll=u(-70, -40)))
    return swap_sides(p) if rng.random() < 0.5 else p


def stand_pose(rng: np.random.Generator) -> np.ndarray:
    """Upright on both legs."""
    u = rng.uniform
    legs = pose(r_abduct=u(0, 12), l_abduct=u(0, 12), r_hip=u(-5, 10), l_hip=u(-5, 10), r_knee=u(0, 12),
                 l_knee=u(0, 12), bend=u(-3, 14), nod=u(-10, 30), turn=u(-40, 40), pitch=u(-3, 6),
                 r_rotate=u(0, 25), l_rotate=u(0, 25))
    return legs + arms_pose(rng)


def sit_pose(rng: np.random.Generator, where: str) -> np.ndarray:
    """Seated on a chair, or on the floor."""
    u = rng.uniform
    lap = pose(**both(arm=u(5, 45), lift=u(0, 18), elbow=u(30, 100), roll=u(-40, 10)))
    arms = lap if rng.random() < 0.65 else arms_pose(rng)
    spine = pose(bend=u(-8, 30), nod=u(-10, 35), turn=u(-35, 35), side=u(-8, 8))
    if where == "chair":
        knee = u(65, 110)
        legs = pose(pitch=u(-18, 12), r_hip=u(75, 100), l_hip=u(75, 100), r_knee=knee + u(-12, 12),
                     l_knee=knee + u(-12, 12), r_abduct=u(0, 22), l_abduct=u(0, 22))
        if rng.random() < 0.15:  # legs crossed
            legs += pose(r_hip=15, r_abduct=-18, r_knee=-10)
    else:
        kind = rng.integers(3)
        legs = pose(pitch=u(-20, 5), **both(hip=u(80, 95), knee=u(0, 25), abduct=u(0, 20)))
        if kind == 1:  # cross-legged
            legs = pose(pitch=u(-12, 5), **both(hip=u(75, 95), knee=u(110, 135), abduct=u(25, 40), rotate=u(35, 55)))
        elif kind == 2:  # knees drawn up
            legs = pose(pitch=u(-20, 5), **both(hip=u(105, 125), knee=u(95, 130), abduct=u(0, 10)))
    return legs + arms + spine


def crouch_pose(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Squat, kneel on one knee or both, or sit on the heels."""
    u = rng.uniform
    reach = pose(**both(arm=u(20, 90), lift=u(0, 25), elbow=u(5, 90), roll=u(-40, 10)))
    arms = reach if rng.random() < 0.7 else arms_pose(rng)
    spine = pose(bend=u(5, 35), nod=u(-20, 25), turn=u(-25, 25))
    if kind == "squat":
        deep = u(75, 125)
        legs = pose(pitch=u(12, 40), **both(hip=deep + u(0, 15), knee=deep + u(-5, 18), abduct=u(5, 30)))
    elif kind == "one knee":
        legs = pose(pitch=u(-5, 20), r_hip=u(80, 105), r_knee=u(80, 110), l_hip=u(-15, 15), l_knee=u(85, 110),
                     r_abduct=u(0, 15), l_abduct=u(0, 12))
    elif kind == "both knees":
        legs = pose(pitch=u(-5, 25), **both(hip=u(-5, 30), knee=u(85, 115), abduct=u(0, 15)))
    else:  # on the heels
        legs = pose(pitch=u(0, 20), **both(hip=u(55, 85), knee=u(135, 150), abduct=u(0, 15)))
    return legs + spine + arms


def bend_pose(rng: np.random.Generator) -> np.ndarray:
    """Trunk forward by 45 to 110 degrees, legs nearly straight."""
    u = rng.uniform
    lean = u(30, 85)
    arms = pose(**both(arm=lean + u(-10, 35), lift=u(0, 15), elbow=u(0, 40)))
    if rng.random() < 0.25:
        arms = arms_pose(rng)
    return arms + pose(pitch=lean, bend=u(15, 40), nod=u(-25, 25), r_hip=lean + u(-5, 12), l_hip=lean + u(-5, 12),
                        r_knee=u(0, 30), l_knee=u(0, 30), r_abduct=u(0, 15), l_abduct=u(0, 15), turn=u(-15, 15))


def lie_pose(rng: np.random.Generator) -> np.ndarray:
    """On the back, front or side; limbs anyhow."""
    u = rng.uniform
    kind = rng.choice(["back", "front", "side"], p=[0.4, 0.25, 0.35])
    curl = u(0, 1) if kind == "side" else u(0, 0.4)
    limbs = pose(r_hip=80 * curl + u(-8, 20), l_hip=80 * curl + u(-8, 20), r_knee=90 * curl + u(0, 30),
                  l_knee=90 * curl + u(0, 30), r_abduct=u(0, 22), l_abduct=u(0, 22), bend=25 * curl + u(-5, 8),
                  r_arm=u(-15, 90) * (1 if kind != "front" else 0.3), l_arm=u(-15, 60), r_lift=u(5, 90),
                  l_lift=u(5, 70), r_elbow=u(0, 110), l_elbow=u(0, 90), nod=u(-10, 20), turn=u(-40, 40))
    if kind == "back":
        limbs += pose(pitch=-90 + u(-5, 8), roll=0)
        if rng.random() < 0.25:
            knee = u(50, 110)
            limbs += pose(**both(hip=knee / 2, knee=knee))
    elif kind == "front":
        # Arms that reach forward would push the trunk off the ground.
        for side in "rl":
            limbs[COLUMN[f"{side}_arm"]] = u(-12, 4) * DEG
        limbs += pose(pitch=90 + u(-6, 4))
    else:
        limbs += pose(roll=90 + u(-15, 15), pitch=u(-8, 8))
    return limbs


def prone_pose(rng: np.random.Generator) -> np.ndarray:
    """Face down, as one lies before one pushes oneself up."""
    u = rng.uniform
    return pose(pitch=90 + u(-6, 4), r_hip=u(-8, 15), l_hip=u(-8, 15), r_knee=u(0, 25), l_knee=u(0, 25),
                 **both(arm=u(-12, 4), lift=u(5, 40), elbow=u(0, 110), abduct=u(0, 15)), turn=u(-30, 30))


def all_fours_pose(rng: np.random.Generator) -> np.ndarray:
    """On hands and knees."""
    u = rng.uniform
    trunk = u(65, 92)
    return pose(pitch=trunk, bend=u(-10, 15), nod=u(-35, 20), r_hip=trunk + u(-15, 20), l_hip=trunk + u(-15, 20),
                 r_knee=u(75, 100), l_knee=u(75, 100), **both(arm=u(70, 95), lift=u(0, 15), elbow=u(0, 30)),
                 r_abduct=u(0, 12), l_abduct=u(0, 12))
