"""Whole rendered videos: people doing things in a scene, with exact boxes, track ids and labels in AVA's format.

    python -m detector.rendering.video street.mp4 --seed 3 --seconds 20 --people 4

writes street.mp4 and street.csv, one row a person, second and action: `video,second,x1,y1,x2,y2,action id,person id`,
corners as shares of the picture, as in AVA's ava_train_v2.2.csv. A seed gives the same video on every machine. A
development command: it needs numba.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from detector.command_line import CommandLine
from detector.errors import UserError, run_command
from detector.labels import load_labels
from detector.rendering.acts.act import Act, mirrored
from detector.rendering.body import Body, Motion, forward, motion_of_poses, sample_body, sample_colour
from detector.rendering.motion import ACTS, with_hands
from detector.rendering.scene import (
    EMPTY_MESH,
    Actor,
    Camera,
    Light,
    Mesh,
    box_mesh,
    cone_extents,
    draw_scene,
    look_at,
    sample_background,
    sample_chair,
    sample_light,
)

CHANGE_S = 0.5  # from one action into the next
EDGE_S = 0.4  # of an action's beginning and end that carry no label


@dataclass(frozen=True)
class Part:
    """One action in a person's programme: when, what, and which way the person faces (radians)."""

    start_s: float
    end_s: float
    act: Act


@dataclass(frozen=True)
class Role:
    """One person's part in a video.

    Attributes:
        body: build and clothes.
        parts: what the person does, one after the other.
        place: (2,) metres x, z where the first part begins.
        yaw: direction faced.
        track_id: counts from 1.
    """

    body: Body
    parts: tuple[Part, ...]
    place: tuple[float, float]
    yaw: float
    track_id: int


@dataclass(frozen=True)
class Label:
    """One person at one second: box as shares of the picture, and AVA's names of what holds then."""

    second: float
    track_id: int
    box: np.ndarray
    names: tuple[str, ...]


def perform(role: Role, seconds: np.ndarray) -> tuple[Actor, Mesh]:
    """Place a role's body at those seconds (T,), with the furniture that its first part asks for."""
    poses = np.zeros((len(seconds), 30))
    offset = np.zeros(3)
    for i, part in enumerate(role.parts):
        middle = (part.start_s + part.end_s) / 2
        own = part.act.curve(seconds - middle)
        start = part.act.curve(np.array([part.start_s - middle]))[0]
        end = part.act.curve(np.array([part.end_s - middle]))[0]
        own[:, [27, 28]] += offset[:2] - start[[27, 28]]
        offset[:2] += end[[27, 28]] - start[[27, 28]]
        share = 1.0 if i == 0 else np.clip((seconds - part.start_s) / CHANGE_S + 0.5, 0, 1)[:, None]
        poses = poses + np.asarray(share * share * (3 - 2 * share)) * (own - poses)
    motion = motion_of_poses(poses)
    points, joints = forward(role.body, Motion(motion.rotations, motion.root))
    c, s = np.cos(role.yaw), np.sin(role.yaw)
    turn = np.array([(c, 0, s), (0, 1, 0), (-s, 0, c)])
    place = np.array([role.place[0], 0, role.place[1]])
    mesh, rng = EMPTY_MESH, np.random.default_rng(role.track_id)
    first = role.parts[0].act.props
    if "chair" in first:
        seat = joints[0, 0].copy()
        seat[1] -= 0.1
        mesh = sample_chair(turn @ seat + place, role.yaw, rng)
    if "bed" in first:
        points = points + np.array([0, 0.4, 0])
        middle_point = turn @ points[:, :, :].mean((0, 1)) + place
        middle_point[1] = 0.2
        mesh = box_mesh(middle_point, (2.2, 0.4, 1.6), role.yaw, sample_colour(rng))
    return Actor(role.body, points @ turn.T + place), mesh


def labels_of(role: Role, actor: Actor, seconds: np.ndarray, camera: Camera, focal: float,
              size_wh: tuple[int, int]) -> list[Label]:
    """The person's labels at each whole second at which at least a third of the body is in the picture."""
    extents = cone_extents(actor, camera)
    wh = np.array(size_wh * 2, float)
    boxes = (extents * focal + np.array([size_wh[0], size_wh[1]] * 2) / 2) / wh
    out = []
    for second in np.arange(1, int(seconds[-1]) + 1):
        box = boxes[int(np.abs(seconds - second).argmin())]
        cut = box.clip(0, 1)
        if (cut[2] - cut[0]) * (cut[3] - cut[1]) < 0.33 * (box[2] - box[0]) * (box[3] - box[1]):
            continue
        for part in role.parts:
            offset = second - (part.start_s + part.end_s) / 2
            inside = part.start_s + EDGE_S * (part.start_s > 0) <= second <= part.end_s - EDGE_S
            if inside and part.act.label_s[0] <= offset <= part.act.label_s[1]:
                out.append(Label(float(second), role.track_id, cut, (part.act.pose, *part.act.extra)))
    return out


def visible_labels(people: list[tuple[float, list[Label]]], most_hidden: float = 0.4) -> list[Label]:
    """Labels of all people but those whose box a nearer person's box covers by more than `most_hidden`.

    Args:
        people: distance from the camera in metres, and labels, of each person.
    """
    out = []
    for distance, labels in people:
        for label in labels:
            covers = [_covered(label.box, other.box) for nearer, others in people if nearer < distance
                      for other in others if other.second == label.second]
            if max(covers, default=0.0) <= most_hidden:
                out.append(label)
    return out


def labels_by_distance(shot: Shot, roles: list[Role], seconds: np.ndarray) -> list[tuple[float, list[Label]]]:
    """Mean distance from the camera (metres, along the ground) and labels of each person."""
    out = []
    for role in roles:
        actor, _ = perform(role, seconds)
        away = actor.points[..., [0, 2]].mean((0, 1)) - shot.camera.position[[0, 2]]
        labels = labels_of(role, actor, seconds, shot.camera, shot.focal, shot.size_wh)
        out.append((float(np.linalg.norm(away)), labels))
    return out


def _covered(box: np.ndarray, by: np.ndarray) -> float:
    wh = np.minimum(box[2:], by[2:]) - np.maximum(box[:2], by[:2])
    return float(np.prod(np.maximum(wh, 0)) / max(np.prod(box[2:] - box[:2]), 1e-9))


def sample_roles(count: int, seconds: float, camera_yaw: float, spread: float, rng: np.random.Generator) -> list[Role]:
    """Draw people and what each does in turn."""
    roles = []
    for i in range(count):
        parts: list[Part] = []
        start = 0.0
        while not parts or start < seconds - 1:
            end = min(start + rng.uniform(3, 6), seconds)
            end = seconds if seconds - end < 2 else end
            parts.append(Part(start, end, sample_act(str(rng.choice(list(ACTS))), rng)))
            start = end
        place = tuple(rng.uniform(-spread, spread, 2))
        roles.append(Role(sample_body(rng), tuple(parts), place, rng.uniform(0, 2 * np.pi), i + 1))
    return roles


def sample_act(pose: str, rng: np.random.Generator, hands: str = "") -> Act:
    """One act of that pose; with the hands waving or clapping if asked."""
    act = ACTS[pose](rng)
    act = with_hands(act, hands, rng) if hands else act
    return mirrored(act) if rng.random() < 0.5 else act


@dataclass(frozen=True)
class Shot:
    """A camera, its focal length in pixels, the picture's size, the light and the scene behind the people."""

    camera: Camera
    focal: float
    size_wh: tuple[int, int]
    light: Light
    background: np.ndarray


def sample_shot(size_wh: tuple[int, int], rng: np.random.Generator, person_px: float = 0.0) -> Shot:
    """Draw a camera; a standing person in the middle is about `person_px` tall (0: 25 to 400)."""
    height = person_px or float(np.exp(rng.uniform(np.log(25), np.log(min(400, size_wh[1] * 0.8)))))
    distance = rng.uniform(3.5, 25)
    pitch = np.deg2rad(rng.uniform(2, 30))
    camera = look_at(np.array([0, 0.9, 0]), rng.uniform(0, 2 * np.pi), pitch, distance)
    focal = height * distance / 1.75
    horizon = size_wh[1] / 2 - np.tan(pitch) * focal
    background = sample_background(size_wh, float(np.clip(horizon, 0.1 * size_wh[1], 0.7 * size_wh[1])), rng)
    return Shot(camera, focal, size_wh, sample_light(rng), background)


def draw_video(shot: Shot, roles: list[Role], seconds: np.ndarray, shake_px: float, noise: float,
               rng: np.random.Generator):
    """Yield each frame, (H, W, 3) uint8 RGB; returns through the generator only pictures, see `labels_of`."""
    performed = [perform(role, seconds) for role in roles]
    actors = [actor for actor, _ in performed]
    mesh = EMPTY_MESH
    for _, part in performed:
        mesh = mesh + part
    w, h = shot.size_wh
    phases = rng.uniform(0, 6.3, (2, 3))
    for i, t in enumerate(seconds):
        shift = shake_px * np.sin(6.283 * np.array([0.7, 1.9, 3.1]) * t + phases).mean(1)
        matrix = np.array([(shot.focal, 0, w / 2 + shift[0]), (0, shot.focal, h / 2 + shift[1])])
        move = np.array([(1, 0, shift[0]), (0, 1, shift[1])])
        background = shot.background
        if shake_px:
            background = cv2.warpAffine(background, move, (w, h), borderMode=cv2.BORDER_REPLICATE)
        image = draw_scene(background, i, actors, mesh, shot.camera, matrix, shot.light)
        image = cv2.GaussianBlur(image, (0, 0), 0.6)
        if noise:
            grain = rng.normal(0, noise, (h // 2 + 1, w // 2 + 1, 1)).astype(np.float32)
            image = image + cv2.resize(grain, (w, h))[..., None]
        yield np.clip(image, 0, 255).astype(np.uint8)


def write_mp4(path: Path, frames, fps: int, size_wh: tuple[int, int], crf: int = 23) -> None:
    """Encode frames, (H, W, 3) uint8 RGB, as H.264."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "medium"}
        for image in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_ava_csv(path: Path, video: str, labels: list[Label]) -> None:
    """Write rows `video,second,x1,y1,x2,y2,action id,person id` by second, person and action."""
    ava = load_labels("ava")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for label in sorted(labels, key=lambda r: (r.second, r.track_id)):
            for name in label.names:
                corners = [f"{v:.4f}" for v in label.box]
                writer.writerow([video, f"{label.second:g}", *corners, ava[ava.find(name)].id, label.track_id])


def main() -> None:
    """Render one video and its labels."""
    parser = CommandLine(
        "python -m detector.rendering.video", description="Render a video of people, with labels in AVA's format."
    )
    parser.add_argument("output", type=Path, help="an .mp4; the labels go beside it as .csv")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--people", type=int, default=3, help="0 to 6")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--size", default="960x540")
    args = parser.parse_args()
    if not 0 <= args.people <= 6:
        raise UserError(f"--people: got {args.people}, expected 0 to 6")
    if args.seconds * args.fps < 1:
        raise UserError(f"--seconds {args.seconds:g} at --fps {args.fps}: no frame; give at least 1 of each")
    w, _, h = args.size.partition("x")
    if not (w.isdigit() and h.isdigit() and int(w) % 2 == int(h) % 2 == 0):
        raise UserError(f"--size: got {args.size}, expected even WIDTHxHEIGHT such as 960x540")
    size_wh = int(w), int(h)
    rng = np.random.default_rng(args.seed)
    shot = sample_shot(size_wh, rng)
    half_width = 0.35 * size_wh[0] / shot.focal * float(np.linalg.norm(shot.camera.position))
    roles = sample_roles(args.people, args.seconds, 0.0, min(half_width, 6.0), rng)
    seconds = np.arange(int(args.seconds * args.fps)) / args.fps
    shake = float(rng.choice([0.0, rng.uniform(0.5, 4)]))
    write_mp4(args.output, draw_video(shot, roles, seconds, shake, rng.uniform(0, 6), rng), args.fps, size_wh)
    labels = visible_labels(labels_by_distance(shot, roles, seconds))
    write_ava_csv(args.output.with_suffix(".csv"), args.output.stem, labels)
    print(f"{args.output}: {len(seconds)} frames, {args.people} people, {len(labels)} labelled person-seconds")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
