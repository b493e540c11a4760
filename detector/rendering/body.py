"""Bodies of rendered people: a skeleton, forward kinematics, and the round cones that flesh and clothes are made of.

The skeleton is the one that the motion-capture clips of `pybullet_data` are recorded for (15 joints, after
DeepMimic): x points forward, y up, z to the person's right, metres. Nothing here knows of cameras, pixels or labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

JOINTS = (
    "root", "chest", "neck", "right_hip", "right_knee", "right_ankle", "right_shoulder", "right_elbow",
    "left_hip", "left_knee", "left_ankle", "left_shoulder", "left_elbow",
)
PARENTS = (-1, 0, 1, 0, 3, 4, 1, 6, 0, 8, 9, 1, 11)
# Offsets from the parent joint: humanoid.urdf of pybullet_data, rounded to a centimetre.
OFFSETS = np.array([
    (0, 0, 0), (0, 0.24, 0), (0, 0.22, 0), (0, 0, 0.085), (0, -0.42, 0), (0, -0.41, 0), (-0.02, 0.17, 0.18),
    (0, -0.28, 0), (0, 0, -0.085), (0, -0.42, 0), (0, -0.41, 0), (-0.02, 0.17, -0.18), (0, -0.28, 0),
])
LEG_JOINTS, ARM_JOINTS = (4, 5, 9, 10), (7, 12)
SKIN, HAIR, SHIRT, TROUSERS, SHOES, EXTRA = range(6)

# Columns of a pose: radians, positive = forward bend, flexion, outward; metres for x, z, air.
POSE = [
    "bend", "side", "twist", "nod", "tilt", "turn",
    *(f"{side}_{name}" for side in "rl" for name in (
        "hip", "abduct", "rotate", "knee", "ankle", "arm", "lift", "roll", "elbow")),
    "pitch", "roll", "yaw", "x", "z", "air",
]
COLUMN = {name: i for i, name in enumerate(POSE)}


@dataclass(frozen=True)
class Motion:
    """What a body does over T moments.

    Attributes:
        rotations: (T, 13, 3, 3) of each joint relative to its parent; the root's relative to the world.
        root: (T, 3) metres; the height is added on top of "lowest point touches the ground" if `grounded`.
        grounded: put the lowest point of the body on the ground at every moment.
    """

    rotations: np.ndarray
    root: np.ndarray
    grounded: bool = True


@dataclass(frozen=True)
class Body:
    """One person's build and clothes.

    Attributes:
        offsets: (13, 3) of the joints from their parents, metres.
        points: joint (P,) and offset (P, 3) of each point that cones end in.
        cones: (K, 3) int: two points and a colour slot.
        radii: (K, 2) metres at both ends.
        colours: (K, 3) float32 RGB, 0 to 255; colours2 likewise, the other colour of the pattern.
        patterns: (K,) int: 0 plain, 1 stripes along, 2 stripes round, 3 checks, 4 blotches.
        frequency: (K,) pattern repeats a metre.
    """

    offsets: np.ndarray
    point_joint: np.ndarray
    point_offset: np.ndarray
    cones: np.ndarray
    radii: np.ndarray
    colours: np.ndarray
    colours2: np.ndarray
    patterns: np.ndarray
    frequency: np.ndarray


def rotation_about(axis: int, angle: np.ndarray) -> np.ndarray:
    """(..., 3, 3) about x, y or z (0, 1, 2) by (...) radians."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.zeros((*angle.shape, 3, 3))
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix[..., axis, axis] = 1
    matrix[..., i, i] = matrix[..., j, j] = c
    matrix[..., i, j], matrix[..., j, i] = -s, s
    return matrix


def motion_of_poses(poses: np.ndarray) -> Motion:
    """Turn (T, 30) poses, columns as in `POSE`, into a motion that stands on the ground (plus its `air`)."""
    t = len(poses)
    zxy = np.zeros((t, 13, 3))  # angle about z, x, y of each joint
    col = COLUMN
    zxy[:, 0] = np.stack([-poses[:, col["pitch"]], poses[:, col["roll"]], poses[:, col["yaw"]]], 1)
    zxy[:, 1] = np.stack([-poses[:, col["bend"]], poses[:, col["side"]], poses[:, col["twist"]]], 1)
    zxy[:, 2] = np.stack([-poses[:, col["nod"]], poses[:, col["tilt"]], poses[:, col["turn"]]], 1)
    for first, sign, start in ((3, -1.0, col["r_hip"]), (8, 1.0, col["l_hip"])):
        p = poses[:, start : start + 9]
        zxy[:, first] = np.stack([p[:, 0], sign * p[:, 1], sign * p[:, 2]], 1)
        zxy[:, first + 1, 0], zxy[:, first + 2, 0] = -p[:, 3], p[:, 4]
        zxy[:, first + 3] = np.stack([p[:, 5], sign * p[:, 6], sign * p[:, 7]], 1)
        zxy[:, first + 4, 0] = p[:, 8]
    rotations = rotation_about(2, zxy[..., 0]) @ rotation_about(0, zxy[..., 1]) @ rotation_about(1, zxy[..., 2])
    z, x, y = zxy[:, 0].T
    rotations[:, 0] = rotation_about(1, y) @ rotation_about(0, x) @ rotation_about(2, z)
    root = poses[:, [col["x"], col["air"], col["z"]]]
    return Motion(rotations, root)


def forward(body: Body, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Place a body.

    Returns:
        (T, P, 3) metres of the body's points, y up, ground at 0, and (T, 13, 3) of its joints.
    """
    t = len(motion.root)
    world = np.empty((t, 13, 3, 3))
    joints = np.empty((t, 13, 3))
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            world[:, j], joints[:, j] = motion.rotations[:, j], 0
        else:
            world[:, j] = world[:, parent] @ motion.rotations[:, j]
            joints[:, j] = joints[:, parent] + world[:, parent] @ body.offsets[j]
    points = joints[:, body.point_joint] + np.einsum("tpij,pj->tpi", world[:, body.point_joint], body.point_offset)
    shift = motion.root.copy()
    if motion.grounded:
        ends = points[:, body.cones[:, :2], 1] - body.radii
        shift[:, 1] -= ends.min((1, 2))
    return points + shift[:, None], joints + shift[:, None]


def sample_colour(rng: np.random.Generator, muted: float = 0.6) -> np.ndarray:
    """(3,) RGB, 0 to 255: often grayish or dark, as clothes are."""
    value = rng.choice([rng.uniform(8, 70), rng.uniform(60, 255)], p=[0.4, 0.6])
    hue = rng.uniform(0, 1, 3)
    saturation = rng.uniform(0, 1) * (1 - muted * (rng.random() < 0.7))
    return value * (1 - saturation + saturation * hue / max(hue.max(), 1e-6))


def _parts(build: dict[str, float], style: dict[str, bool]) -> list[tuple]:
    """(joint, offset, joint, offset, radius, radius, slot) of each cone of a body of unit scale."""
    g, belly, hips = build["girth"], build["belly"], build["hips"]
    parts: list[tuple] = [
        (0, (0, 0.0, 0.075), 0, (0, 0.0, -0.075), 0.098 * hips, 0.098 * hips, TROUSERS),
        (0, (0.01, 0.10, 0.05), 0, (0.01, 0.10, -0.05), 0.098 * belly, 0.098 * belly, SHIRT),
        (1, (0.0, 0.0, 0.06), 1, (0.0, 0.0, -0.06), 0.103 * g, 0.103 * g, SHIRT),
        (1, (0.0, 0.12, 0.08), 1, (0.0, 0.12, -0.08), 0.103 * g, 0.103 * g, SHIRT),
        (1, (-0.01, 0.17, 0.14), 1, (-0.01, 0.17, -0.14), 0.065 * g, 0.065 * g, SHIRT),
        (2, (0, -0.04, 0), 2, (0.005, 0.06, 0), 0.052 * g, 0.05 * g, SKIN),
        (2, (0.02, 0.12, 0), 2, (0.01, 0.185, 0), 0.078 * build["head"], 0.092 * build["head"], SKIN),
        (2, (-0.025, 0.15, 0), 2, (-0.01, 0.205, 0), 0.085 * build["head"], 0.09 * build["head"], HAIR),
    ]
    if style["long_hair"]:
        parts.append((2, (-0.05, 0.14, 0), 2, (-0.07, -0.02, 0), 0.075, 0.06, HAIR))
    for hip, knee, ankle, shoulder, elbow, s in ((3, 4, 5, 6, 7, 1), (8, 9, 10, 11, 12, -1)):
        shin = SKIN if style["shorts"] else TROUSERS
        fore = SKIN if style["short_sleeves"] else SHIRT
        upper = SKIN if style["vest"] else SHIRT
        loose = 1.25 if style["loose"] else 1.0
        parts += [
            (hip, (0, -0.01, 0), knee, (0, 0.0, 0), 0.088 * g * hips, 0.058 * g * loose, TROUSERS),
            (knee, (0, 0, 0), knee, (-0.01, -0.15, 0), 0.056 * g * (loose if shin else 1), 0.056 * g, shin),
            (knee, (-0.01, -0.15, 0), ankle, (0, 0.02, 0), 0.056 * g, 0.04 * g * (loose if shin else 1), shin),
            (ankle, (-0.05, -0.045, 0), ankle, (0.14, -0.055, 0.01 * s), 0.042, 0.033, SHOES),
            (ankle, (0, 0.0, 0), ankle, (0.05, -0.04, 0), 0.042, 0.04, SHOES),
            (shoulder, (0, 0, 0), elbow, (0, 0, 0), 0.056 * g, 0.043 * g * loose, upper),
            (elbow, (0, 0, 0), elbow, (0, -0.24, 0), 0.042 * g * (loose if fore else 1), 0.031 * g, fore),
            (elbow, (0, -0.26, 0), elbow, (0.01, -0.35, 0), 0.036, 0.03, SKIN),
        ]
        if style["skirt"]:
            parts.append((0, (0, -0.03, 0.04 * s), hip, (0, -0.38, 0.03 * s), 0.11, 0.13, EXTRA))
        if style["coat"]:
            parts.append((0, (0, 0.05, 0.05 * s), hip, (0, -0.28, 0.01 * s), 0.115 * belly, 0.105, SHIRT))
    if style["backpack"]:
        parts.append((1, (-0.17, 0.12, 0), 1, (-0.16, -0.08, 0), 0.1, 0.11, EXTRA))
    if style["hat"]:
        parts.append((2, (0.0, 0.22, 0), 2, (0.04, 0.225, 0), 0.1, 0.09, EXTRA))
    return parts


def sample_body(rng: np.random.Generator) -> Body:
    """Draw one person: height 1.0 to 2.0 m, build, clothes, colours."""
    child = rng.random() < 0.12
    height = rng.uniform(1.0, 1.45) if child else np.clip(rng.normal(1.71, 0.1), 1.45, 2.0)
    build = {
        "girth": rng.uniform(0.85, 1.2), "belly": rng.uniform(0.85, 1.35), "hips": rng.uniform(0.9, 1.2),
        "head": 1.0 + (0.3 if child else 0.0) + rng.uniform(-0.05, 0.1),
    }
    odds = {"long_hair": 0.35, "shorts": 0.2, "short_sleeves": 0.4, "vest": 0.08, "loose": 0.4, "skirt": 0.14,
            "coat": 0.2, "backpack": 0.12, "hat": 0.15}
    style = {name: bool(rng.random() < p) for name, p in odds.items()}
    offsets = OFFSETS.copy()
    offsets[list(LEG_JOINTS)] *= rng.uniform(0.92, 1.1)
    offsets[list(ARM_JOINTS)] *= rng.uniform(0.92, 1.08)
    offsets[[6, 11], 2] *= rng.uniform(0.88, 1.12)
    parts = _parts(build, style)
    scale = height / 1.66
    point_joint = np.array([j for part in parts for j in (part[0], part[2])])
    point_offset = np.array([o for part in parts for o in (part[1], part[3])], float) * scale
    k = len(parts)
    slots = np.array([part[6] for part in parts])
    skin = np.array([(250, 215, 190), (225, 180, 150), (190, 140, 110), (130, 90, 65), (85, 58, 42)])
    palette = np.stack([sample_colour(rng) for _ in range(6)])
    palette[SKIN] = skin[rng.integers(5)] * rng.uniform(0.85, 1.05)
    palette[HAIR] = np.array([(25, 20, 18), (70, 45, 30), (150, 110, 60), (150, 150, 150)])[rng.integers(4)]
    if rng.random() < 0.15:
        palette[TROUSERS] = palette[SHIRT]
    patterns = np.zeros(6, int)
    for slot in (SHIRT, TROUSERS, EXTRA):
        patterns[slot] = rng.choice(5, p=[0.55, 0.1, 0.13, 0.1, 0.12])
    second = np.stack([np.clip(c * rng.uniform(0.4, 1.6) + rng.uniform(-20, 20, 3), 0, 255) for c in palette])
    if rng.random() < 0.5:
        second[SHIRT] = sample_colour(rng)
    return Body(
        offsets * scale, point_joint, point_offset, np.column_stack([np.arange(k) * 2, np.arange(k) * 2 + 1, slots]),
        np.array([part[4:6] for part in parts], float) * scale, np.clip(palette, 3, 252)[slots].astype(np.float32),
        second[slots].astype(np.float32), patterns[slots], np.full(k, rng.uniform(4, 16)),
    )
