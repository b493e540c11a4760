"""What rendered people do: procedural kinematics of AVA's pose actions, and of waving and clapping.

Each `Act` is asked for poses at any seconds relative to the key frame (0) and answers with (T, 30) angles, columns as
in `render_body.POSE`. Amplitudes, speeds, phases and styles are drawn once per act. Nothing here knows of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detector.data.render_body import COLUMN

Poses = np.ndarray
Curve = Callable[[np.ndarray], Poses]
DEG = np.pi / 180


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
    """

    pose: str
    curve: Curve
    extra: tuple[str, ...] = ()
    props: tuple[str, ...] = ()
    variant: str = ""
    label_s: tuple[float, float] = (-np.inf, np.inf)


def _pose(**degrees: float) -> np.ndarray:
    p = np.zeros(len(COLUMN))
    for name, value in degrees.items():
        p[COLUMN[name]] = value if name in ("x", "z", "air") else value * DEG
    return p


def _both(**degrees: float) -> dict[str, float]:
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


def _pulse(phase: np.ndarray, sharp: float) -> np.ndarray:
    """0 to 1 to 0 once per unit of phase, narrower when sharp."""
    return np.maximum(np.sin(np.pi * (phase % 1.0)), 0) ** sharp


def arms_pose(rng: np.random.Generator) -> np.ndarray:
    """Arms as people hold them while doing nothing with them."""
    u = rng.uniform
    kind = rng.choice(9, p=[0.34, 0.1, 0.1, 0.08, 0.1, 0.08, 0.06, 0.08, 0.06])
    p = _pose(**_both(arm=u(-12, 12), lift=u(2, 14), elbow=u(2, 30)))
    if kind == 1:  # pockets
        p = _pose(**_both(arm=u(-25, 0), lift=u(8, 20), elbow=u(35, 60), roll=-20))
    elif kind == 2:  # crossed
        p = _pose(**_both(arm=u(25, 45), lift=u(0, 12), elbow=u(85, 110), roll=u(-75, -50)))
    elif kind == 3:  # on the hips
        p = _pose(**_both(arm=u(-25, -5), lift=u(35, 50), elbow=u(70, 100), roll=u(-60, -35)))
    elif kind == 4:  # phone or paper before the chest
        p = _pose(**_both(arm=u(10, 45), lift=u(0, 15), elbow=u(80, 125), roll=u(-35, -5)))
    elif kind == 5:  # one hand to the head
        p += _pose(r_arm=u(50, 80), r_elbow=u(100, 135), r_lift=u(0, 30))
    elif kind == 6:  # hands folded
        p = _pose(**_both(arm=u(5, 25), lift=u(0, 8), elbow=u(35, 60), roll=u(-45, -25)))
    elif kind == 7:  # carrying at one side
        p += _pose(r_elbow=u(30, 100), r_arm=u(-10, 20))
    elif kind == 8:  # behind the back
        p = _pose(**_both(arm=u(-40, -25), lift=u(8, 15), elbow=u(30, 60), roll=u(-70, -40)))
    return _swap_sides(p) if rng.random() < 0.5 else p


def _swap_sides(p: np.ndarray) -> np.ndarray:
    q = p.copy()
    q[..., 6:15], q[..., 15:24] = p[..., 15:24], p[..., 6:15]
    for name in ("side", "twist", "tilt", "turn", "roll", "yaw", "z"):
        q[..., COLUMN[name]] *= -1
    return q


def mirrored(act: Act) -> Act:
    """The same act with left and right exchanged."""
    return replace(act, curve=lambda t: _swap_sides(act.curve(t)))


ARM_COLUMNS = [COLUMN[f"{s}_{n}"] for s in "rl" for n in ("arm", "lift", "roll", "elbow")]
SPINE_COLUMNS = [COLUMN[n] for n in ("bend", "side", "twist", "nod", "tilt", "turn")]
LEG_COLUMNS = [COLUMN[f"{s}_{n}"] for s in "rl" for n in ("hip", "abduct", "rotate", "knee")]


def _life(rng: np.random.Generator, legs: float = 0.03):
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


def stand_pose(rng: np.random.Generator) -> np.ndarray:
    """Upright on both legs."""
    u = rng.uniform
    legs = _pose(r_abduct=u(0, 12), l_abduct=u(0, 12), r_hip=u(-5, 10), l_hip=u(-5, 10), r_knee=u(0, 12),
                 l_knee=u(0, 12), bend=u(-3, 14), nod=u(-10, 30), turn=u(-40, 40), pitch=u(-3, 6),
                 r_rotate=u(0, 25), l_rotate=u(0, 25))
    return legs + arms_pose(rng)


def act_stand(rng: np.random.Generator) -> Act:
    """Stand: still, gesturing, shifting weight, turning on the spot, juggling a ball with a foot."""
    base, life, u = stand_pose(rng), _life(rng), rng.uniform
    variant = str(rng.choice(["still", "talk", "shift", "turn", "juggle", "shuffle"], p=[.38, .19, .1, .1, .16, .07]))
    rate, size = u(0.5, 1.8), u(15, 65) * DEG
    phase, spin = u(0, 1), rng.normal(0, 0.5)
    feet = rng.choice(["r", "l"], 16) if rng.random() < 0.6 else np.repeat(["r"], 16)
    knee = rng.choice([0.3, 0.8, 1.6])  # a low tap, a kick, a kick from the thigh
    if variant == "juggle" and rng.random() < 0.7:  # arms out for balance, eyes on the ball
        base[ARM_COLUMNS] = _pose(**_both(arm=u(-15, 35), lift=u(15, 65), elbow=u(10, 80)))[ARM_COLUMNS]
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
            lift = _pulse(rate * t + phase, 2.0)
            foot = feet[np.floor(rate * t + phase).astype(int) % len(feet)]
            for s in "rl":
                p[:, COLUMN[f"{s}_hip"]] += lift * size * (foot == s)
                p[:, COLUMN[f"{s}_knee"]] += lift * size * knee * (foot == s)
                p[:, COLUMN[f"{s}_arm"]] += 0.25 * lift * (foot != s)
            p[:, [COLUMN["x"], COLUMN["z"], COLUMN["side"]]] += sway(t)
        elif variant == "shuffle":
            for s, shift in (("r", 0.0), ("l", 0.5)):
                lift = _pulse(0.8 * t + phase + shift, 2.0) * 0.3
                p[:, COLUMN[f"{s}_hip"]] += lift
                p[:, COLUMN[f"{s}_knee"]] += lift * 1.5
        return flat_feet(p)

    return Act("stand", curve, props=("ball",) if variant == "juggle" else (), variant=variant)


def act_walk(rng: np.random.Generator) -> Act:
    """Walk 0.5 to 2 m/s; arms swing, or are busy."""
    u = rng.uniform
    rate = u(0.6, 1.35)  # also of videos played too fast
    swing = u(16, 32) * DEG
    speed = 4 * 0.84 * np.sin(swing) * rate * u(0.85, 1.1)
    busy = rng.random() < 0.4
    arms = arms_pose(rng) if busy else _pose(**_both(arm=u(-5, 8), lift=u(2, 12), elbow=u(5, 35)))
    arm_swing = (u(0, 6) if busy else u(10, 38)) * DEG
    base = arms + _pose(pitch=u(-2, 8), bend=u(-2, 14), nod=u(-10, 30), turn=u(-20, 20))
    life, phase, turn = _life(rng, 0.0), u(0, 1), rng.normal(0, 0.12)
    knee_lift = u(45, 65) * DEG

    def curve(t: np.ndarray) -> Poses:
        p = base + 0.5 * life(t)
        for s, shift, sign in (("r", 0.0, 1), ("l", 0.5, -1)):
            a = 6.283 * (rate * t + phase + shift)
            p[:, COLUMN[f"{s}_hip"]] += swing * np.sin(a) + 0.06
            # The knee bends while the leg swings forward (sine rising).
            p[:, COLUMN[f"{s}_knee"]] += 0.1 + knee_lift * np.maximum(np.cos(a + 0.35), 0) ** 1.5
            p[:, COLUMN[f"{s}_arm"]] -= arm_swing * np.sin(a)
            p[:, COLUMN[f"{s}_elbow"]] += 0.3 * arm_swing * (1 - np.sin(a))
            p[:, COLUMN["twist"]] += sign * 0.06 * np.sin(a)
        p[:, COLUMN["yaw"]] += turn * t
        p[:, COLUMN["x"]] += speed * t
        return flat_feet(p)

    return Act("walk", curve, variant="busy" if busy else "swing")


def act_run(rng: np.random.Generator) -> Act:
    """Run or jog 1.8 to 5.5 m/s, or on the spot."""
    u = rng.uniform
    rate, swing, knee = u(1.15, 1.75), u(25, 48) * DEG, u(70, 115) * DEG
    spot = rng.random() < 0.15
    speed = 0.0 if spot else 4 * 0.84 * np.sin(swing) * rate * u(0.9, 1.3)
    base = _pose(pitch=u(2, 16), bend=u(0, 12), nod=u(-15, 10), **_both(arm=u(-8, 10), lift=u(4, 20),
                 elbow=u(60, 105), roll=u(-30, 0)))
    arm_swing, flight, phase = u(20, 50) * DEG, u(0.02, 0.09), u(0, 1)
    life, turn = _life(rng, 0.0), rng.normal(0, 0.1)

    def curve(t: np.ndarray) -> Poses:
        p = base + 0.3 * life(t)
        for s, shift, sign in (("r", 0.0, 1), ("l", 0.5, -1)):
            a = 6.283 * (rate * t + phase + shift)
            p[:, COLUMN[f"{s}_hip"]] += swing * np.sin(a) + 0.2
            p[:, COLUMN[f"{s}_knee"]] += 0.25 + knee * np.maximum(np.cos(a + 0.5), 0) ** 1.3
            p[:, COLUMN[f"{s}_arm"]] -= arm_swing * np.sin(a)
            p[:, COLUMN["twist"]] += sign * 0.1 * np.sin(a)
        p[:, COLUMN["air"]] += flight * (1 + np.cos(2 * 6.283 * (rate * t + phase) + 0.9))
        p[:, COLUMN["yaw"]] += turn * t
        p[:, COLUMN["x"]] += speed * t
        return flat_feet(p)

    return Act("run/jog", curve, variant="spot" if spot else "road")


def sit_pose(rng: np.random.Generator, where: str) -> np.ndarray:
    """Seated on a chair, or on the floor."""
    u = rng.uniform
    lap = _pose(**_both(arm=u(5, 45), lift=u(0, 18), elbow=u(30, 100), roll=u(-40, 10)))
    arms = lap if rng.random() < 0.65 else arms_pose(rng)
    spine = _pose(bend=u(-8, 30), nod=u(-10, 35), turn=u(-35, 35), side=u(-8, 8))
    if where == "chair":
        knee = u(65, 110)
        legs = _pose(pitch=u(-18, 12), r_hip=u(75, 100), l_hip=u(75, 100), r_knee=knee + u(-12, 12),
                     l_knee=knee + u(-12, 12), r_abduct=u(0, 22), l_abduct=u(0, 22))
        if rng.random() < 0.15:  # legs crossed
            legs += _pose(r_hip=15, r_abduct=-18, r_knee=-10)
    else:
        kind = rng.integers(3)
        legs = _pose(pitch=u(-20, 5), **_both(hip=u(80, 95), knee=u(0, 25), abduct=u(0, 20)))
        if kind == 1:  # cross-legged
            legs = _pose(pitch=u(-12, 5), **_both(hip=u(75, 95), knee=u(110, 135), abduct=u(25, 40), rotate=u(35, 55)))
        elif kind == 2:  # knees drawn up
            legs = _pose(pitch=u(-20, 5), **_both(hip=u(105, 125), knee=u(95, 130), abduct=u(0, 10)))
    return legs + arms + spine


def act_sit(rng: np.random.Generator) -> Act:
    """Sit on a chair, sofa, bed edge or the floor; sometimes having just sat down."""
    where = "chair" if rng.random() < 0.75 else "floor"
    base, life, u = sit_pose(rng, where), _life(rng, 0.04), rng.uniform
    arrive = u(-1.3, -0.3) if where == "chair" and rng.random() < 0.15 else None
    before = stand_pose(rng)

    def curve(t: np.ndarray) -> Poses:
        p = np.repeat(base[None], len(t), 0)
        if arrive is not None:
            p = blend(t, [arrive - 0.9, arrive], [before, base])
        return flat_feet(p + life(t))

    prop = "chair" if where == "chair" and rng.random() < 0.8 else "floor"
    return Act("sit", curve, props=(prop,), variant=where, label_s=(-np.inf if arrive is None else arrive, np.inf))


def crouch_pose(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Squat, kneel on one knee or both, or sit on the heels."""
    u = rng.uniform
    reach = _pose(**_both(arm=u(20, 90), lift=u(0, 25), elbow=u(5, 90), roll=u(-40, 10)))
    arms = reach if rng.random() < 0.7 else arms_pose(rng)
    spine = _pose(bend=u(5, 35), nod=u(-20, 25), turn=u(-25, 25))
    if kind == "squat":
        deep = u(75, 125)
        legs = _pose(pitch=u(12, 40), **_both(hip=deep + u(0, 15), knee=deep + u(-5, 18), abduct=u(5, 30)))
    elif kind == "one knee":
        legs = _pose(pitch=u(-5, 20), r_hip=u(80, 105), r_knee=u(80, 110), l_hip=u(-15, 15), l_knee=u(85, 110),
                     r_abduct=u(0, 15), l_abduct=u(0, 12))
    elif kind == "both knees":
        legs = _pose(pitch=u(-5, 25), **_both(hip=u(-5, 30), knee=u(85, 115), abduct=u(0, 15)))
    else:  # on the heels
        legs = _pose(pitch=u(0, 20), **_both(hip=u(55, 85), knee=u(135, 150), abduct=u(0, 15)))
    return legs + spine + arms


CROUCHES = ("squat", "squats", "one knee", "both knees", "heels")


def act_crouch(rng: np.random.Generator) -> Act:
    """Crouch or kneel, or do squats while low."""
    kind = str(rng.choice(CROUCHES, p=[0.35, 0.2, 0.2, 0.15, 0.1]))
    base, life, u = crouch_pose(rng, "squat" if kind == "squats" else kind), _life(rng, 0.05), rng.uniform
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


def bend_pose(rng: np.random.Generator) -> np.ndarray:
    """Trunk forward by 45 to 110 degrees, legs nearly straight."""
    u = rng.uniform
    lean = u(30, 85)
    arms = _pose(**_both(arm=lean + u(-10, 35), lift=u(0, 15), elbow=u(0, 40)))
    if rng.random() < 0.25:
        arms = arms_pose(rng)
    return arms + _pose(pitch=lean, bend=u(15, 40), nod=u(-25, 25), r_hip=lean + u(-5, 12), l_hip=lean + u(-5, 12),
                        r_knee=u(0, 30), l_knee=u(0, 30), r_abduct=u(0, 15), l_abduct=u(0, 15), turn=u(-15, 15))


def act_bend(rng: np.random.Generator) -> Act:
    """Bend down: hold, pick something up, or bow again and again; sometimes with a barbell."""
    base, top, life, u = bend_pose(rng), stand_pose(rng), _life(rng, 0.04), rng.uniform
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


def lie_pose(rng: np.random.Generator) -> np.ndarray:
    """On the back, front or side; limbs anyhow."""
    u = rng.uniform
    kind = rng.choice(["back", "front", "side"], p=[0.4, 0.25, 0.35])
    curl = u(0, 1) if kind == "side" else u(0, 0.4)
    limbs = _pose(r_hip=80 * curl + u(-8, 20), l_hip=80 * curl + u(-8, 20), r_knee=90 * curl + u(0, 30),
                  l_knee=90 * curl + u(0, 30), r_abduct=u(0, 22), l_abduct=u(0, 22), bend=25 * curl + u(-5, 8),
                  r_arm=u(-15, 90) * (1 if kind != "front" else 0.3), l_arm=u(-15, 60), r_lift=u(5, 90),
                  l_lift=u(5, 70), r_elbow=u(0, 110), l_elbow=u(0, 90), nod=u(-10, 20), turn=u(-40, 40))
    if kind == "back":
        limbs += _pose(pitch=-90 + u(-5, 8), roll=0)
        if rng.random() < 0.25:
            knee = u(50, 110)
            limbs += _pose(**_both(hip=knee / 2, knee=knee))
    elif kind == "front":
        # Arms that reach forward would push the trunk off the ground.
        for side in "rl":
            limbs[COLUMN[f"{side}_arm"]] = u(-12, 4) * DEG
        limbs += _pose(pitch=90 + u(-6, 4))
    else:
        limbs += _pose(roll=90 + u(-15, 15), pitch=u(-8, 8))
    return limbs


def act_lie(rng: np.random.Generator) -> Act:
    """Lie on the floor or a bed."""
    base, life = lie_pose(rng), _life(rng, 0.03)
    still = rng.uniform(0.1, 0.8)
    return Act("lie/sleep", lambda t: base + still * life(t), props=("bed",) if rng.random() < 0.3 else ("floor",),
               variant="lie")


def _topple(p: Poses) -> Poses:
    """Move the pelvis as if the feet stayed put while the body turns over them."""
    legs = 0.85 * np.cos(np.clip(p[:, COLUMN["r_hip"]], 0, 1.4))
    p[:, COLUMN["x"]] += legs * np.sin(p[:, COLUMN["pitch"]])
    p[:, COLUMN["z"]] += legs * np.sin(p[:, COLUMN["roll"]])
    return p


def act_fall(rng: np.random.Generator) -> Act:
    """Fall from standing, walking, sitting or crouching until lying; second 0 is on the way down."""
    u = rng.uniform
    source = str(rng.choice(["stand", "walk", "sit", "collapse"], p=[0.35, 0.2, 0.2, 0.25]))
    pace = u(0.5, 1.3)
    start = -pace * u(0.15, 1.05)
    end_pose, life = lie_pose(rng), _life(rng, 0.05)
    before = sit_pose(rng, "chair") if source == "sit" else stand_pose(rng)
    walk = act_walk(rng).curve if source == "walk" else None
    middle = 0.5 * (before + end_pose)
    if source in ("collapse", "sit"):
        middle = crouch_pose(rng, str(rng.choice(["squat", "both knees"]))) + 0.45 * end_pose * (
            np.isin(np.arange(30), [COLUMN["pitch"], COLUMN["roll"]]))
    middle[[COLUMN["r_arm"], COLUMN["l_arm"]]] += u(0, 1.2, 2)
    middle[[COLUMN["r_lift"], COLUMN["l_lift"]]] += u(0, 1.0, 2)
    split = start + pace * u(0.45, 0.6)

    def curve(t: np.ndarray) -> Poses:
        p = blend(t, [start, split, start + pace], [before, middle, end_pose], 1.15)
        fade = np.clip((start + 0.3 * pace - t) / (0.3 * pace), 0, 1)[:, None]
        if walk is not None:
            stop = np.minimum(t, start + 0.3)
            p = fade * walk(stop) + (1 - fade) * (p + np.where(np.arange(30) == COLUMN["x"], walk(stop), 0))
        p = p + (0.3 + 0.7 * fade) * life(t)
        return _topple(flat_feet(p))

    return Act("fall down", curve, props=("chair",) if source == "sit" else (), variant=source,
               label_s=(start + 0.12 * pace, start + pace + 0.1))


def act_get_up(rng: np.random.Generator) -> Act:
    """Get up from a chair, the floor, a bed or one's knees; second 0 is on the way up."""
    u = rng.uniform
    source = str(rng.choice(["chair", "lie", "floor", "knee"], p=[0.35, 0.3, 0.2, 0.15]))
    stand, life = stand_pose(rng), _life(rng, 0.04)
    if source == "chair":
        first = sit_pose(rng, "chair")
        lean = first + _pose(pitch=u(25, 50), r_hip=u(15, 30), l_hip=u(15, 30), r_arm=u(0, 40), l_arm=u(0, 40))
        poses, shares = [first, lean, stand], [0, u(0.35, 0.5), 1]
        pace = u(0.8, 1.6)
    elif source == "knee":
        poses, shares, pace = [crouch_pose(rng, "one knee"), stand], [0, 1], u(0.6, 1.3)
    else:
        first = lie_pose(rng) if source == "lie" else sit_pose(rng, "floor")
        sit, crouch = sit_pose(rng, "floor"), crouch_pose(rng, str(rng.choice(["squat", "one knee"])))
        sit += _pose(pitch=u(-25, 0), r_arm=-50, l_arm=u(-50, 0))
        poses, shares = [first, sit, crouch, stand], [0, u(0.25, 0.4), u(0.55, 0.75), 1]
        if source == "floor":
            poses, shares = [first, crouch, stand], [0, u(0.4, 0.6), 1]
        pace = u(1.4, 3.0)
    start = -pace * u(0.15, 0.92)
    times = [start + pace * s for s in shares]

    def curve(t: np.ndarray) -> Poses:
        return flat_feet(blend(t, times, poses) + life(t))

    return Act("get up", curve, props=("chair",) if source == "chair" else (), variant=source,
               label_s=(start + 0.1 * pace, start + 0.97 * pace))


def act_jump(rng: np.random.Generator) -> Act:
    """Jump: hops in a row, jumping jacks, one high or long jump, bouncing on a bed."""
    u = rng.uniform
    kind = str(rng.choice(["hops", "jacks", "high", "long", "bounce", "rope"], p=[0.22, 0.25, 0.15, 0.1, 0.2, 0.08]))
    rate = {"jacks": u(1.1, 2.4), "rope": u(1.6, 2.4), "bounce": u(0.8, 1.7)}.get(kind, u(0.8, 2.0))
    height = {"jacks": u(0.03, 0.14), "rope": u(0.05, 0.13), "bounce": u(0.12, 0.45)}.get(kind, u(0.1, 0.5))
    flight = min(2 * np.sqrt(2 * height / 9.81) * rate, 0.75)
    dip, phase, tuck = u(15, 60), u(0, 1), u(0, 60) if kind == "bounce" else u(0, 15)
    base, life = stand_pose(rng), _life(rng, 0.02)
    if kind in ("jacks", "bounce", "hops", "rope"):
        base[ARM_COLUMNS] = _pose(**_both(arm=u(-10, 25), lift=u(5, 45), elbow=u(5, 70)))[ARM_COLUMNS]
    swing, spread = u(0, 120) * DEG, u(10, 60) * DEG
    legs_apart, arm_top, drift, spin = u(18, 35), u(110, 172), rng.normal(0, 0.3), rng.normal(0, 0.4)
    drift *= kind in ("hops", "bounce")
    speed = u(0.8, 2.5)

    def curve(t: np.ndarray) -> Poses:
        p = base + life(t)
        cycle = rate * t + phase
        if kind in ("high", "long"):  # once, in the air about second 0
            cycle = np.clip(rate * (t + (phase - 0.5) * 0.5) * 0.8, -0.5, 0.5) + 0.5
        in_air = np.clip((cycle % 1.0 - 0.5) / (flight / 2 + 1e-6), -1.0, 1.0)
        air = 1 - in_air**2
        press = np.where(np.abs(in_air) >= 1, np.sin(np.pi * ((cycle + 0.5) % 1.0 - (0.5 - (1 - flight) / 2))
                                                     / max(1 - flight, 0.1)), 0)
        press = np.maximum(press, 0) * (1.0 if kind not in ("high", "long") else (np.abs(cycle - 0.5) < 0.49))
        p[:, COLUMN["air"]] += height * air
        for s in "rl":
            p[:, COLUMN[f"{s}_knee"]] += (dip * press + 2 * tuck * air) * DEG
            p[:, COLUMN[f"{s}_hip"]] += (0.6 * dip * press + tuck * air) * DEG
            p[:, COLUMN[f"{s}_ankle"]] -= 0.6 * air
            if kind == "jacks":
                wave = 0.5 - 0.5 * np.cos(np.pi * cycle)
                p[:, COLUMN[f"{s}_abduct"]] += legs_apart * DEG * wave
                p[:, COLUMN[f"{s}_lift"]] += arm_top * DEG * wave
            else:
                p[:, COLUMN[f"{s}_arm"]] += swing * (air - 0.4 * press) * (kind != "rope")
                p[:, COLUMN[f"{s}_lift"]] += spread * air * (kind != "rope")
        if kind == "rope":
            p[:, ARM_COLUMNS] += 0.15 * np.sin(6.283 * cycle)[:, None]
        if kind != "jacks":
            p[:, COLUMN["pitch"]] += 0.4 * dip * press * DEG
        p[:, COLUMN["x"]] += (speed if kind == "long" else drift) * t
        p[:, COLUMN["yaw"]] += spin * t * (kind == "bounce")
        return p

    near = (-0.45 / rate, 0.45 / rate) if kind in ("high", "long") else (-np.inf, np.inf)
    return Act("jump/leap", curve, props=("bed",) if kind == "bounce" else (), variant=kind, label_s=near)


def _dance_pose(rng: np.random.Generator) -> np.ndarray:
    """Any pose that a dancer strikes: arms anywhere, knees soft or deep, a leg out, the trunk leaning."""
    u = rng.uniform
    deep = u(5, 70) if rng.random() < 0.4 else u(5, 25)
    p = _pose(r_arm=u(-30, 150), l_arm=u(-30, 150), r_lift=u(0, 130), l_lift=u(0, 130), r_elbow=u(5, 120),
              l_elbow=u(5, 120), r_roll=u(-50, 70), l_roll=u(-50, 70), bend=u(-12, 35), side=u(-20, 20),
              twist=u(-30, 30), nod=u(-15, 25), turn=u(-35, 35), pitch=u(-4, 20), roll=u(-10, 10),
              yaw=rng.normal(0, 30),
              r_hip=0.7 * deep + u(-10, 15), l_hip=0.7 * deep + u(-10, 15), r_knee=deep, l_knee=deep,
              r_abduct=u(0, 28), l_abduct=u(0, 28), x=rng.normal(0, 0.15), z=rng.normal(0, 0.15))
    if rng.random() < 0.35:  # one foot off the ground
        side = rng.choice(["r", "l"])
        p += _pose(**{f"{side}_hip": u(10, 70), f"{side}_knee": u(10, 90), f"{side}_abduct": u(0, 25)})
    return p


def _dance_of_poses(rng: np.random.Generator) -> Act:
    """Dance from pose to pose on the beat, sharply or flowing, round and round."""
    count, gap, hold = int(rng.integers(3, 9)), rng.uniform(0.28, 0.75), rng.uniform(0, 0.55)
    softness = rng.uniform(0.35, 1.0)  # how much of the way the dancer goes
    middle = _dance_pose(rng)
    poses = np.stack([middle + softness * (_dance_pose(rng) - middle) for _ in range(count)])
    if rng.random() < 0.5:  # every second pose mirrors the one before
        poses[1::2] = _swap_sides(poses[: count - count % 2 : 2])
    phase, spin, hop, life = rng.uniform(0, 9), rng.normal(0, 0.8) * (rng.random() < 0.3), 0.0, _life(rng, 0.04)
    if rng.random() < 0.2:
        hop = rng.uniform(0.02, 0.1)

    def curve(t: np.ndarray) -> Poses:
        beat = t / gap + phase
        share = np.clip((beat % 1.0 - hold) / (1 - hold), 0, 1)[:, None]
        share = share * share * (3 - 2 * share)
        at = np.floor(beat).astype(int)
        p = poses[at % count] * (1 - share) + poses[(at + 1) % count] * share + life(t)
        p[:, COLUMN["yaw"]] += spin * t
        p[:, COLUMN["air"]] += hop * np.abs(np.sin(np.pi * beat))
        return flat_feet(p)

    return Act("dance", curve, variant="poses")


def act_dance(rng: np.random.Generator) -> Act:
    """Dance: arms, hips and steps in time with one beat, or from pose to pose."""
    u = rng.uniform
    if rng.random() < 0.5:
        return _dance_of_poses(rng)
    beat = u(0.7, 1.5)
    base = stand_pose(rng)
    base[ARM_COLUMNS] = _pose(r_arm=u(-10, 90), l_arm=u(-10, 90), r_lift=u(10, 120), l_lift=u(10, 120),
                              r_elbow=u(20, 100), l_elbow=u(20, 100), r_roll=u(-40, 70), l_roll=u(-40, 70))[ARM_COLUMNS]
    amplitude = np.zeros(30)
    amplitude[ARM_COLUMNS] = u(0.1, 0.8, 8)
    amplitude[SPINE_COLUMNS] = u(0.03, 0.3, 6)
    for s in "rl":
        amplitude[[COLUMN[f"{s}_hip"], COLUMN[f"{s}_knee"], COLUMN[f"{s}_abduct"]]] = u(0.05, 0.4, 3)
        base[COLUMN[f"{s}_knee"]] += 0.3
        base[COLUMN[f"{s}_hip"]] += 0.2
    amplitude[[COLUMN["roll"], COLUMN["yaw"]]] = u(0.02, 0.14), u(0.05, 0.7)
    amplitude[[COLUMN["x"], COLUMN["z"]]] = u(0.0, 0.25, 2)
    octave = rng.choice([0.5, 1.0, 1.0, 2.0], 30)
    octave[[COLUMN["x"], COLUMN["z"], COLUMN["yaw"]]] = 0.5
    phase, step, spin = u(0, 6.3, 30), u(0.1, 0.9), rng.normal(0, 0.8) * (rng.random() < 0.4)
    life = _life(rng, 0.05)

    def curve(t: np.ndarray) -> Poses:
        p = base + life(t) + amplitude * np.sin(6.283 * beat * octave * t[:, None] + phase)
        for s, shift in (("r", 0.0), ("l", 0.5)):
            lift = step * _pulse(beat * 0.5 * t + shift + phase[0], 2.0)
            p[:, COLUMN[f"{s}_hip"]] += 0.6 * lift
            p[:, COLUMN[f"{s}_knee"]] += lift
        p[:, COLUMN["yaw"]] += spin * t
        return flat_feet(p)

    return Act("dance", curve, variant="beat")


def act_fight(rng: np.random.Generator) -> Act:
    """Martial art: guard, punches to the front or side, kicks."""
    u = rng.uniform
    kind = str(rng.choice(["box", "punch", "kick", "mix"], p=[0.4, 0.25, 0.2, 0.15]))
    guard = _pose(r_arm=u(25, 60), l_arm=u(30, 70), **_both(lift=u(0, 20), elbow=u(85, 130), roll=u(-35, 0)))
    if kind == "punch" and rng.random() < 0.6:  # fists at the hips, as in karate
        guard = _pose(**_both(arm=u(-45, -20), lift=u(5, 15), elbow=u(80, 110)))
    wide, low = u(0, 30), u(0, 40)
    if rng.random() < 0.45:  # upright, feet side by side
        wide, low = u(0, 8), u(0, 8)
    guard += _pose(r_hip=-wide * 0.5 + low * 0.5, l_hip=wide + low * 0.5, r_knee=low + 5, l_knee=low + 10,
                   pitch=u(0, 10), r_abduct=u(3, 18), l_abduct=u(3, 18), bend=u(0, 15), twist=u(-25, 25), nod=u(-5, 15))
    rate, sharp, phase = u(0.45, 2.2 if kind == "box" else 1.4), u(1.0, 4), u(0, 1)
    reach, aside, twist = u(65, 100), u(0, 85) * (rng.random() < 0.45), u(5, 35)
    hands = (1, 0) if rng.random() < 0.3 else (1, 1)
    kick, kick_aside, bounce = u(50, 115), u(0, 75), u(0, 0.03)
    life, leg = _life(rng, 0.04), "r"
    fist = guard.copy()

    def curve(t: np.ndarray) -> Poses:
        p = guard + life(t)
        cycle = rate * t + phase
        if kind != "kick":
            for s, shift, hand, sign in (("r", 0.0, hands[0], 1), ("l", 0.5, hands[1], -1)):
                out = hand * _pulse(np.where((cycle + shift) % 1 < 0.5, 2 * (cycle + shift), 0), sharp)
                for name, goal in (("arm", reach * (aside < 45)), ("lift", aside), ("elbow", 8), ("roll", 0)):
                    column = COLUMN[f"{s}_{name}"]
                    p[:, column] += out * (goal * DEG - fist[column])
                p[:, COLUMN["twist"]] += sign * out * twist * DEG
                p[:, COLUMN["pitch"]] += 0.06 * out
        if kind in ("kick", "mix"):
            out = _pulse(np.where((0.6 * cycle) % 1 < 0.55, 0.6 * cycle / 0.55, 0), 1.5)
            late = out**2
            p[:, COLUMN[f"{leg}_hip"]] += kick * DEG * out * (1 - kick_aside / 150)
            p[:, COLUMN[f"{leg}_abduct"]] += kick_aside * DEG * out
            p[:, COLUMN[f"{leg}_knee"]] += (out - late) * 2.2 - late * 0.3
            p[:, COLUMN["pitch"]] -= 0.3 * out
        p[:, COLUMN["air"]] += bounce * np.abs(np.sin(6.283 * 1.3 * t))
        return flat_feet(p)

    return Act("martial art", curve, variant=kind)


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
