"""Dance and martial art."""

from __future__ import annotations

import numpy as np

from detector.rendering.acts.act import Act
from detector.rendering.body import COLUMN
from detector.rendering.poses import (
    ARM_COLUMNS,
    DEG,
    SPINE_COLUMNS,
    Poses,
    both,
    flat_feet,
    pose,
    pulse,
    small_life,
    stand_pose,
    swap_sides,
)


def _dance_pose(rng: np.random.Generator) -> np.ndarray:
    """Any pose that a dancer strikes: arms anywhere, knees soft or deep, a leg out, the trunk leaning."""
    u = rng.uniform
    deep = u(5, 70) if rng.random() < 0.4 else u(5, 25)
    p = pose(r_arm=u(-30, 150), l_arm=u(-30, 150), r_lift=u(0, 130), l_lift=u(0, 130), r_elbow=u(5, 120),
              l_elbow=u(5, 120), r_roll=u(-50, 70), l_roll=u(-50, 70), bend=u(-12, 35), side=u(-20, 20),
              twist=u(-30, 30), nod=u(-15, 25), turn=u(-35, 35), pitch=u(-4, 20), roll=u(-10, 10),
              yaw=rng.normal(0, 30),
              r_hip=0.7 * deep + u(-10, 15), l_hip=0.7 * deep + u(-10, 15), r_knee=deep, l_knee=deep,
              r_abduct=u(0, 28), l_abduct=u(0, 28), x=rng.normal(0, 0.15), z=rng.normal(0, 0.15))
    if rng.random() < 0.35:  # one foot off the ground
        side = rng.choice(["r", "l"])
        p += pose(**{f"{side}_hip": u(10, 70), f"{side}_knee": u(10, 90), f"{side}_abduct": u(0, 25)})
    return p


def _dance_of_poses(rng: np.random.Generator) -> Act:
    """Dance from pose to pose on the beat, sharply or flowing, round and round."""
    count, gap, hold = int(rng.integers(3, 9)), rng.uniform(0.28, 0.75), rng.uniform(0, 0.55)
    softness = rng.uniform(0.35, 1.0)  # how much of the way the dancer goes
    middle = _dance_pose(rng)
    poses = np.stack([middle + softness * (_dance_pose(rng) - middle) for _ in range(count)])
    if rng.random() < 0.5:  # every second pose mirrors the one before
        poses[1::2] = swap_sides(poses[: count - count % 2 : 2])
    phase, spin, hop, life = rng.uniform(0, 9), rng.normal(0, 0.8) * (rng.random() < 0.3), 0.0, small_life(rng, 0.04)
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
    base[ARM_COLUMNS] = pose(r_arm=u(-10, 90), l_arm=u(-10, 90), r_lift=u(10, 120), l_lift=u(10, 120),
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
    life = small_life(rng, 0.05)

    def curve(t: np.ndarray) -> Poses:
        p = base + life(t) + amplitude * np.sin(6.283 * beat * octave * t[:, None] + phase)
        for s, shift in (("r", 0.0), ("l", 0.5)):
            lift = step * pulse(beat * 0.5 * t + shift + phase[0], 2.0)
            p[:, COLUMN[f"{s}_hip"]] += 0.6 * lift
            p[:, COLUMN[f"{s}_knee"]] += lift
        p[:, COLUMN["yaw"]] += spin * t
        return flat_feet(p)

    return Act("dance", curve, variant="beat")


def act_fight(rng: np.random.Generator) -> Act:
    """Martial art: guard, punches to the front or side, kicks."""
    u = rng.uniform
    kind = str(rng.choice(["box", "punch", "kick", "mix"], p=[0.4, 0.25, 0.2, 0.15]))
    guard = pose(r_arm=u(25, 60), l_arm=u(30, 70), **both(lift=u(0, 20), elbow=u(85, 130), roll=u(-35, 0)))
    if kind == "punch" and rng.random() < 0.6:  # fists at the hips, as in karate
        guard = pose(**both(arm=u(-45, -20), lift=u(5, 15), elbow=u(80, 110)))
    wide, low = u(0, 30), u(0, 40)
    if rng.random() < 0.45:  # upright, feet side by side
        wide, low = u(0, 8), u(0, 8)
    guard += pose(r_hip=-wide * 0.5 + low * 0.5, l_hip=wide + low * 0.5, r_knee=low + 5, l_knee=low + 10,
                   pitch=u(0, 10), r_abduct=u(3, 18), l_abduct=u(3, 18), bend=u(0, 15), twist=u(-25, 25), nod=u(-5, 15))
    rate, sharp, phase = u(0.45, 2.2 if kind == "box" else 1.4), u(1.0, 4), u(0, 1)
    reach, aside, twist = u(65, 100), u(0, 85) * (rng.random() < 0.45), u(5, 35)
    hands = (1, 0) if rng.random() < 0.3 else (1, 1)
    kick, kick_aside, bounce = u(50, 115), u(0, 75), u(0, 0.03)
    life, leg = small_life(rng, 0.04), "r"
    fist = guard.copy()

    def curve(t: np.ndarray) -> Poses:
        p = guard + life(t)
        cycle = rate * t + phase
        if kind != "kick":
            for s, shift, hand, sign in (("r", 0.0, hands[0], 1), ("l", 0.5, hands[1], -1)):
                out = hand * pulse(np.where((cycle + shift) % 1 < 0.5, 2 * (cycle + shift), 0), sharp)
                for name, goal in (("arm", reach * (aside < 45)), ("lift", aside), ("elbow", 8), ("roll", 0)):
                    column = COLUMN[f"{s}_{name}"]
                    p[:, column] += out * (goal * DEG - fist[column])
                p[:, COLUMN["twist"]] += sign * out * twist * DEG
                p[:, COLUMN["pitch"]] += 0.06 * out
        if kind in ("kick", "mix"):
            out = pulse(np.where((0.6 * cycle) % 1 < 0.55, 0.6 * cycle / 0.55, 0), 1.5)
            late = out**2
            p[:, COLUMN[f"{leg}_hip"]] += kick * DEG * out * (1 - kick_aside / 150)
            p[:, COLUMN[f"{leg}_abduct"]] += kick_aside * DEG * out
            p[:, COLUMN[f"{leg}_knee"]] += (out - late) * 2.2 - late * 0.3
            p[:, COLUMN["pitch"]] -= 0.3 * out
        p[:, COLUMN["air"]] += bounce * np.abs(np.sin(6.283 * 1.3 * t))
        return flat_feet(p)

    return Act("martial art", curve, variant=kind)
