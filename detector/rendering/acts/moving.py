"""People on the move: walk, run, fall, get up, jump."""

from __future__ import annotations

import numpy as np

from detector.rendering.acts.act import Act
from detector.rendering.body import COLUMN
from detector.rendering.poses import (
    ARM_COLUMNS,
    DEG,
    Poses,
    all_fours_pose,
    arms_pose,
    blend,
    both,
    crouch_pose,
    flat_feet,
    lie_pose,
    pose,
    prone_pose,
    sit_pose,
    small_life,
    stand_pose,
)


def act_walk(rng: np.random.Generator, stroll: bool = False) -> Act:
    """Walk 0.5 to 2 m/s; arms swing, or are busy. A stroll has slower and shorter steps."""
    u = rng.uniform
    rate = u(0.6, 1.35) * (0.85 if stroll else 1)  # also of videos played too fast
    swing = u(16, 32) * DEG * (0.65 if stroll else 1)
    speed = 4 * 0.84 * np.sin(swing) * rate * u(0.85, 1.1)
    busy = rng.random() < 0.4
    arms = arms_pose(rng) if busy else pose(**both(arm=u(-5, 8), lift=u(2, 12), elbow=u(5, 35)))
    arm_swing = (u(0, 6) if busy else u(10, 38)) * DEG
    base = arms + pose(pitch=u(-2, 8), bend=u(-2, 14), nod=u(-10, 30), turn=u(-20, 20))
    life, phase, turn = small_life(rng, 0.0), u(0, 1), rng.normal(0, 0.12)
    knee_lift = u(45, 65) * DEG * (0.75 if stroll else 1)

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
    base = pose(pitch=u(2, 16), bend=u(0, 12), nod=u(-15, 10), **both(arm=u(-8, 10), lift=u(4, 20),
                 elbow=u(60, 105), roll=u(-30, 0)))
    arm_swing, flight, phase = u(20, 50) * DEG, u(0.02, 0.09), u(0, 1)
    life, turn = small_life(rng, 0.0), rng.normal(0, 0.1)

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
    end_pose, life = lie_pose(rng), small_life(rng, 0.05)
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
    stand, life = stand_pose(rng), small_life(rng, 0.04)
    if source == "chair":
        first = sit_pose(rng, "chair")
        lean = first + pose(pitch=u(25, 50), r_hip=u(15, 30), l_hip=u(15, 30), r_arm=u(0, 40), l_arm=u(0, 40))
        poses, shares = [first, lean, stand], [0, u(0.35, 0.5), 1]
        pace = u(0.8, 1.6)
    elif source == "knee":
        poses, shares, pace = [crouch_pose(rng, "one knee"), stand], [0, 1], u(0.6, 1.3)
    else:
        first = lie_pose(rng) if source == "lie" else sit_pose(rng, "floor")
        sit, crouch = sit_pose(rng, "floor"), crouch_pose(rng, str(rng.choice(["squat", "one knee"])))
        sit += pose(pitch=u(-25, 0), r_arm=-50, l_arm=u(-50, 0))
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


def act_get_up_prone(rng: np.random.Generator) -> Act:
    """Get up from lying face down: over hands and knees, then one knee or a squat; second 0 is on the way up."""
    u = rng.uniform
    poses = [prone_pose(rng), all_fours_pose(rng)]
    shares = [0.0, u(0.25, 0.45)]
    if rng.random() < 0.75:
        poses.append(crouch_pose(rng, str(rng.choice(["one knee", "squat"]))))
        shares.append(u(0.55, 0.75))
    poses.append(stand_pose(rng))
    shares.append(1.0)
    pace, life = u(1.2, 3.2), small_life(rng, 0.04)
    start = -pace * u(0.15, 0.92)
    times = [start + pace * s for s in shares]

    def curve(t: np.ndarray) -> Poses:
        return flat_feet(blend(t, times, poses) + life(t))

    return Act("get up", curve, variant="prone", label_s=(start + 0.1 * pace, start + 0.97 * pace))


def act_jump(rng: np.random.Generator) -> Act:
    """Jump: hops in a row, jumping jacks, one high or long jump, bouncing on a bed."""
    u = rng.uniform
    kind = str(rng.choice(["hops", "jacks", "high", "long", "bounce", "rope"], p=[0.22, 0.25, 0.15, 0.1, 0.2, 0.08]))
    rate = {"jacks": u(1.1, 2.4), "rope": u(1.6, 2.4), "bounce": u(0.8, 1.7)}.get(kind, u(0.8, 2.0))
    height = {"jacks": u(0.03, 0.14), "rope": u(0.05, 0.13), "bounce": u(0.12, 0.45)}.get(kind, u(0.1, 0.5))
    flight = min(2 * np.sqrt(2 * height / 9.81) * rate, 0.75)
    dip, phase, tuck = u(15, 60), u(0, 1), u(0, 60) if kind == "bounce" else u(0, 15)
    base, life = stand_pose(rng), small_life(rng, 0.02)
    if kind in ("jacks", "bounce", "hops", "rope"):
        base[ARM_COLUMNS] = pose(**both(arm=u(-10, 25), lift=u(5, 45), elbow=u(5, 70)))[ARM_COLUMNS]
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
