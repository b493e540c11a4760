"""What people do just before and after something else, and a few more ways of sitting, boxing and running.

A clip lasts 1.6 s, so a fall that ended half a second ago is still in it when the person already lies: the label is
that of the key frame, not of the clip's largest movement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detector.rendering.acts.act import Act, between
from detector.rendering.acts.art import act_fight
from detector.rendering.acts.moving import act_fall, act_get_up, act_run
from detector.rendering.acts.still import act_sit
from detector.rendering.body import COLUMN
from detector.rendering.poses import (
    DEG,
    Poses,
    arms_pose,
    both,
    flat_feet,
    pose,
    small_life,
    stand_pose,
)

# What is done before and after falling and getting up, by how those begin and end (their styles' names).
BEFORE_FALL = {"stand": "stand", "collapse": "stand", "sit": "sit"}
BEFORE_GET_UP = {"chair": "sit", "floor": "sit", "lie": "lie/sleep"}
# Seconds between the key frame and the other action's beginning or end.
NEAR_S = 0.05, 0.9


def _at(act: Act, second: float, pose: str, variant: str) -> Act:
    """The same movement with its `second` at the key frame, where it is called `pose`."""
    return replace(act, pose=pose, curve=lambda t: act.curve(t + second), variant=variant, label_s=(-np.inf, np.inf))


def _draw(make: Callable[[np.random.Generator], Act], styles: tuple[str, ...], rng: np.random.Generator) -> Act:
    act = make(rng)
    while act.variant not in styles:
        act = make(rng)
    return act


def act_after(pose: str, rng: np.random.Generator) -> Act:
    """Lie after a fall, or stand after getting up, 0.05 to 0.9 s ago.

    Raises:
        ValueError: another pose.
    """
    if pose not in ("lie/sleep", "stand"):
        raise ValueError(f"act_after: got {pose!r}, expected 'lie/sleep' or 'stand'")
    fell = pose == "lie/sleep"
    act = _draw(act_fall, tuple(BEFORE_FALL), rng) if fell else _draw(act_get_up, tuple(BEFORE_GET_UP), rng)
    return _at(act, act.label_s[1] + rng.uniform(*NEAR_S), pose, f"after {'fall' if fell else 'getting up'}")


def act_before(pose: str, rng: np.random.Generator) -> Act:
    """Stand, sit or lie, 0.05 to 0.9 s before falling or getting up.

    Raises:
        ValueError: another pose.
    """
    falls = tuple(style for style, before in BEFORE_FALL.items() if before == pose)
    rises = tuple(style for style, before in BEFORE_GET_UP.items() if before == pose)
    if not falls and not rises:
        raise ValueError(f"act_before: got {pose!r}, expected 'stand', 'sit' or 'lie/sleep'")
    fall = bool(falls) and (not rises or rng.random() < 0.5)
    act = _draw(act_fall, falls, rng) if fall else _draw(act_get_up, rises, rng)
    return _at(act, act.label_s[0] - rng.uniform(*NEAR_S), pose, f"before {'fall' if fall else 'getting up'}")


def act_sit_edge(rng: np.random.Generator) -> Act:
    """Sit on the front of a seat, leaning forward, feet drawn back, hands on the thighs or between the knees."""
    u = rng.uniform
    lean = u(0, 38)
    arms = pose(**both(arm=lean + u(5, 45), lift=u(0, 12), elbow=u(5, 75), roll=u(-35, 5)))
    if rng.random() < 0.2:
        arms = arms_pose(rng)
    base = arms + pose(pitch=lean, bend=u(0, 25), nod=u(-15, 35), turn=u(-25, 25),
                       **both(hip=u(70, 95) + 0.9 * lean, knee=u(85, 125), abduct=u(0, 25)))
    life = small_life(rng, 0.03)

    def curve(t: np.ndarray) -> Poses:
        return flat_feet(np.repeat(base[None], len(t), 0) + life(t))

    return Act("sit", curve, props=("chair",), variant="edge")


def act_box_upright(rng: np.random.Generator) -> Act:
    """Box or punch on straight, still legs: short quick ones before the chest, or one arm held out for a while."""
    u = rng.uniform
    aside, upper = u(0, 85) * (rng.random() < 0.4), rng.random() < 0.7
    guard = stand_pose(rng) * 0.6
    arms = pose(**both(arm=u(25, 60), lift=u(0, 20), elbow=u(90, 130), roll=u(-35, 0))) if upper else pose(
        **both(arm=u(-30, 5), lift=u(5, 15), elbow=u(60, 110)))
    for side in "rl":
        for name in ("arm", "lift", "elbow", "roll"):
            guard[COLUMN[f"{side}_{name}"]] = arms[COLUMN[f"{side}_{name}"]]
    rate, phase, twist, part = u(0.7, 3.2), u(0, 1), u(0, 20), u(0.4, 1.0)
    hold = u(0.0, 0.5) if rate < 1.6 else 0.0
    reach, hands, life = u(70, 95), (1, 1) if rng.random() < 0.75 else (1, 0), small_life(rng, 0.02)

    def curve(t: np.ndarray) -> Poses:
        p = guard + life(t)
        for s, shift, hand, sign in (("r", 0.0, hands[0], 1), ("l", 0.5, hands[1], -1)):
            cycle = (rate * t + phase + shift) % 1.0
            # Out within a quarter of the beat, held, and back.
            out = hand * part * np.clip(np.minimum(4 * cycle, 4 * (0.5 + 0.8 * hold - cycle)), 0, 1)
            out = out * out * (3 - 2 * out)
            for name, goal in (("arm", reach * (aside < 45)), ("lift", aside), ("elbow", 6), ("roll", 0)):
                column = COLUMN[f"{s}_{name}"]
                p[:, column] += out * (goal * DEG - guard[column])
            p[:, COLUMN["twist"]] += sign * out * twist * DEG
        return flat_feet(p)

    return Act("martial art", curve, variant="upright")


def act_run_along(rng: np.random.Generator) -> Act:
    """Run while the camera keeps its distance: the place in the picture stays."""
    act = act_run(rng)

    def curve(t: np.ndarray) -> Poses:
        p = act.curve(t)
        p[:, [COLUMN["x"], COLUMN["z"]]] = 0
        return p

    return replace(act, curve=curve, variant="along", camera_moves=True)


def room_style(act: Act, rng: np.random.Generator) -> Act:
    """Now and then one of this module's ways of doing the same pose instead of `act`."""
    chance = rng.random()
    if act.pose == "lie/sleep" and chance < 0.4:
        return act_after("lie/sleep", rng) if chance < 0.3 else act_before("lie/sleep", rng)
    if act.pose == "stand" and chance < 0.14:
        return act_after("stand", rng) if chance < 0.07 else act_before("stand", rng)
    if act.pose == "sit" and chance < 0.45:
        if chance < 0.15:
            return act_before("sit", rng)
        edge = act_sit_edge(rng)
        return between(edge, act_sit(rng), rng.uniform(0, 0.5)) if chance < 0.22 else edge
    if act.pose == "martial art" and chance < 0.4:
        return act_box_upright(rng) if chance < 0.33 else between(act_fight(rng), act_box_upright(rng), 0.5)
    if act.pose == "run/jog" and chance < 0.3:
        return act_run_along(rng)
    return act
