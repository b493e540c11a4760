"""The clip that ships with the product: rendered people doing several actions before a plain scene.

    python -m detector.rendering.sample stream/samples/sample.mp4
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detector.command_line import CommandLine
from detector.errors import run_command
from detector.rendering.acts.act import Act
from detector.rendering.body import sample_body
from detector.rendering.scene import Light, look_at, sample_background
from detector.rendering.video import (
    Part,
    Role,
    Shot,
    draw_video,
    labels_by_distance,
    sample_act,
    visible_labels,
    write_ava_csv,
    write_mp4,
)

SIZE_WH, FPS, SECONDS, PERSON_PX = (960, 540), 25, 16.0, 250
# Who does what: (seconds, pose, style, hands), place along the picture and in depth (metres, nearer is larger),
# direction faced (radians, 0: to the right, -1.57: to the camera).
PROGRAMME = (
    (((0, 16, "sit", "chair", ""),), (-2.6, 0.2), -0.6),
    (((0, 8, "stand", "still", "hand wave"), (8, 16, "stand", "still", "")), (-1.3, 0.1), -1.3),
    (((0, 7, "jump/leap", "hops", ""), (7, 16, "crouch/kneel", "squat", "")), (0.4, 0.2), -1.5),
    (((0, 16, "bend/bow (at the waist)", "hold", ""),), (1.9, 0.1), -0.2),
    (((0, 16, "walk", "swing", ""),), (-4.5, -2.0), 0.0),
    (((0, 16, "walk", "swing", ""),), (12.5, -2.4), np.pi),
)
# Seeds of the scene and of each role's body and style: a clip to show what the program does wants people whom the
# small person detector finds, so these were picked by eye and by its answers. The clip proves nothing else.
SCENE_SEED, CAST_SEEDS = 10, (10, 11, 11, 10, 11, 11)


def create_shot(rng: np.random.Generator) -> Shot:
    """A camera at eye height before a wall."""
    distance, pitch = 9.0, np.deg2rad(9)
    camera = look_at(np.array([0, 0.95, 0]), -np.pi / 2, pitch, distance)
    focal = PERSON_PX * distance / 1.72
    horizon = SIZE_WH[1] * 0.42
    background = sample_background(SIZE_WH, horizon, rng)
    light = Light(np.array([0.35, 0.8, -0.48]), 0.45, 0.35, 0.12)
    return Shot(camera, focal, SIZE_WH, light, background)


def create_roles(rng: np.random.Generator) -> list[Role]:
    """The cast of `PROGRAMME`."""
    roles = []
    for number, (steps, place, yaw) in enumerate(PROGRAMME, start=1):
        parts = tuple(Part(a, b, _act(pose, style, hands, rng)) for a, b, pose, style, hands in steps)
        roles.append(Role(sample_body(rng), parts, place, yaw, number))
    return roles


def create_cast(seed: int) -> list[Role]:
    """All roles as one seed draws them (after a scene of its own)."""
    rng = np.random.default_rng(seed)
    create_shot(rng)
    return create_roles(rng)


def _act(pose: str, style: str, hands: str, rng: np.random.Generator) -> Act:
    while True:
        act = sample_act(pose, rng, hands)
        if act.variant.split("+")[0] == style:
            return act


def main() -> None:
    """Write the clip and its labels."""
    parser = CommandLine("python -m detector.rendering.sample", description="Render the sample clip.")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(SCENE_SEED)
    shot = create_shot(rng)
    roles = [create_cast(seed)[number] for number, seed in enumerate(CAST_SEEDS)]
    seconds = np.arange(int(SECONDS * FPS)) / FPS
    write_mp4(args.output, draw_video(shot, roles, seconds, 0.0, 2.0, rng), FPS, SIZE_WH, crf=24)
    labels = visible_labels(labels_by_distance(shot, roles, seconds))
    write_ava_csv(args.output.with_suffix(".csv"), args.output.stem, labels)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {len(labels)} labelled person-seconds")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
