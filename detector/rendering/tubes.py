"""Rendered training clips: one person in a tube, in exactly the geometry in which the product shows people.

A source of some frame rate and resolution is imagined, its frames nearest to the sampled seconds are drawn at the
source's resolution, degraded as cameras and codecs do, and enlarged or shrunk to the tube as `views.TubeView` does
from the ring: borders replicated, the key frame's (jittered) box kept for the whole clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from detector.rendering.acts.moving import act_walk
from detector.rendering.acts.street import beside
from detector.rendering.body import COLUMN, forward, motion_of_poses, sample_body, sample_colour
from detector.rendering.performance import Performance, sample_performance
from detector.rendering.scene import (
    EMPTY_MESH,
    Actor,
    Camera,
    Mesh,
    box_mesh,
    cone_extents,
    draw_scene,
    look_at,
    sample_background,
    sample_camera,
    sample_chair,
    sample_light,
)
from detector.sampling import Sampling
from detector.views import TubeView

# AVA's names, in the order of their ids: twelve poses that exclude each other, and two things done with the hands.
POSES = (
    "bend/bow (at the waist)", "crouch/kneel", "dance", "fall down", "get up", "jump/leap", "lie/sleep",
    "martial art", "run/jog", "sit", "stand", "walk",
)
HANDS = ("hand clap", "hand wave")
NAMES = POSES + HANDS
# How often each pose is drawn: about evenly, with more of what streets and rooms show most.
SHARES = np.array([1.0, 1.1, 0.9, 1.0, 1.0, 1.1, 1.0, 1.0, 0.9, 1.2, 1.7, 1.4])


@dataclass(frozen=True)
class TubeRecipe:
    """What the clips are made for.

    Attributes:
        view, sampling: of the network.
        held_out: draw the motions, photos (and bodies, by seed) kept for validation.
    """

    view: TubeView = field(default_factory=lambda: TubeView(size_px=80, context=1.75, short_side_px=384))
    sampling: Sampling = field(default_factory=lambda: Sampling(num_frames=16, stride=3, fps=30.0))
    held_out: bool = False


@dataclass(frozen=True)
class TubeClip:
    """One rendered clip.

    Attributes:
        frames: (T, size, size, 3) uint8 RGB.
        box: (4,) float32 of the person at the key frame, pixels of the tube.
        targets: (14,) float32, 0 or 1, columns as `NAMES`.
        variant: which style of the action, for looking into errors.
        height_px: the person's height in the source, as the ring holds it.
    """

    frames: np.ndarray
    box: np.ndarray
    targets: np.ndarray
    variant: str
    height_px: float


def source_seconds(sampling: Sampling, rng: np.random.Generator) -> np.ndarray:
    """The clip's moments (T,) as a source of some frame rate can show them: the nearest frames' times."""
    fps = float(rng.choice([5, 7, 10, 12.5, 15, 20, 25, 30, 50], p=[.04, .08, .14, .07, .14, .08, .2, .2, .05]))
    shift = rng.uniform(0, 1 / fps)
    return np.round((sampling.offsets_s + shift) * fps) / fps - shift


def _place(actor_points: np.ndarray, yaw: float, x: float, z: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([(c, 0, s), (0, 1, 0), (-s, 0, c)])
    return actor_points @ turn.T + np.array([x, 0, z])


def _others(count: int, seconds: np.ndarray, rng: np.random.Generator) -> list[Actor]:
    """People near by: mostly standing or walking past."""
    actors = []
    for _ in range(count):
        pose = str(rng.choice(POSES, p=SHARES / SHARES.sum())) if rng.random() < 0.4 else (
            "walk" if rng.random() < 0.6 else "stand")
        body = sample_body(rng)
        points, _ = forward(body, sample_performance(pose, seconds, rng, False).motion)
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 3.5)
        actors.append(Actor(body, _place(points, rng.uniform(0, 6.3), distance * np.cos(angle),
                                         distance * np.sin(angle))))
    return actors


def _company(show: Performance, seconds: np.ndarray, rng: np.random.Generator) -> list[Actor]:
    """People who belong with someone walking or standing: walk alongside, stand close by, cross close by."""
    if show.pose not in ("walk", "stand") or rng.random() > 0.45:
        return []
    actors = []
    if rng.random() < 0.65:
        body = sample_body(rng)
        if show.act is not None and show.pose == "walk":
            points, _ = forward(body, motion_of_poses(beside(show.act.curve, rng)(seconds)))
            actors.append(Actor(body, points))
        else:
            points, _ = forward(body, sample_performance("stand", seconds, rng, False, street=True).motion)
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 1.1)
            actors.append(Actor(body, _place(points, rng.uniform(0, 6.3), distance * np.cos(angle),
                                             distance * np.sin(angle))))
    if rng.random() < 0.55:
        body, act = sample_body(rng), act_walk(rng)
        points, _ = forward(body, motion_of_poses(act.curve(seconds)))
        yaw, near = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]) * rng.uniform(0.45, 1.2)
        met = float(act.curve(rng.uniform(-1.2, 1.2, 1))[0, COLUMN["x"]])
        c, s = np.cos(yaw), np.sin(yaw)
        actors.append(Actor(body, _place(points, yaw, near * s - met * c, near * c + met * s)))
    return actors


def _furniture(props: tuple[str, ...], root: np.ndarray, points: np.ndarray, yaw: float,
               rng: np.random.Generator) -> tuple[Mesh, float]:
    """What an act needs under or round it, and how high it lifts the person."""
    mesh, lift = EMPTY_MESH, 0.0
    middle = np.array([root[0], 0.0, root[2]])
    if "chair" in props:
        seat = middle.copy()
        seat[1] = max(root[1] - 0.1, 0.05)
        mesh = sample_chair(seat, yaw, rng)
    if "bed" in props:
        lift = rng.uniform(0.25, 0.6)
        extent = points[..., [0, 2]].reshape(-1, 2)
        centre = np.array([extent[:, 0].mean(), lift / 2, extent[:, 1].mean()])
        colour = sample_colour(rng)
        size = rng.uniform(1.9, 2.4), lift, rng.uniform(0.9, 2.2)
        mesh = box_mesh(centre, size, yaw + rng.choice([0, 0.4]), colour)
        for _ in range(rng.integers(0, 4)):
            spot = centre + np.array([rng.normal(0, 0.6), lift / 2 + 0.06, rng.normal(0, 0.5)])
            mesh += box_mesh(spot, (0.5, 0.15, 0.4), rng.uniform(0, 3), sample_colour(rng))
    elif rng.random() < 0.15:  # something else in the room
        angle = rng.uniform(0, 6.3)
        spot = middle + rng.uniform(0.7, 2.0) * np.array([np.cos(angle), 0, np.sin(angle)])
        height = rng.uniform(0.3, 1.4)
        spot[1] = height / 2
        mesh = mesh + box_mesh(spot, (rng.uniform(0.2, 1.0), height, rng.uniform(0.2, 1.2)), angle, sample_colour(rng))
    return mesh, lift


@dataclass(frozen=True)
class Extras:
    """Things that move although the person may not: drawn as discs and boxes in pixels of the picture.

    Attributes:
        centres: (T, B, 2) pixels; radii: (B,); colours: (B, 3); square: (B,) bool.
    """

    centres: np.ndarray
    radii: np.ndarray
    colours: np.ndarray
    square: np.ndarray

    def draw(self, image: np.ndarray, moment: int) -> None:
        for centre, radius, colour, square in zip(self.centres[moment], self.radii, self.colours, self.square,
                                                  strict=True):
            paint = tuple(float(c) for c in colour)
            x, y, r = int(centre[0]), int(centre[1]), max(int(radius), 1)
            if square:
                cv2.rectangle(image, (x - 2 * r, y - r), (x + 2 * r, y + r), paint, -1)
            else:
                cv2.circle(image, (x, y), r, paint, -1, cv2.LINE_AA)
                cv2.circle(image, (x - r // 3, y - r // 3), max(r // 2, 1), tuple(min(c * 1.2, 255) for c in paint), -1)


def _sample_extras(seconds: np.ndarray, box: np.ndarray, size: int, ball: bool, rng: np.random.Generator) -> Extras:
    """Balls that bounce, things that pass by; `box` (4,) of the person in pixels."""
    count = int(ball) + (int(rng.integers(1, 3)) if rng.random() < 0.08 else 0)
    t, height = len(seconds), box[3] - box[1]
    centres, radii = np.zeros((t, count, 2)), np.zeros(count)
    for i in range(count):
        radii[i] = height * rng.uniform(0.03, 0.09)
        if ball or rng.random() < 0.5:
            x = rng.uniform(box[0], box[2]) + rng.normal(0, 0.05) * height * seconds
            bounce = np.abs(np.sin(np.pi * (rng.uniform(0.5, 1.6) * seconds + rng.uniform(0, 1))))
            y = box[3] - height * (rng.uniform(0, 0.3) + rng.uniform(0.2, 1.0) * bounce)
        else:
            radii[i] *= rng.uniform(1, 4)
            x = rng.uniform(0, size) + rng.normal(0, 0.8) * height * seconds
            y = rng.uniform(0, size) + rng.normal(0, 0.1) * height * seconds
        centres[:, i] = np.stack([x, y], 1)
    return Extras(centres, radii, np.array([sample_colour(rng) for _ in range(count)]).reshape(-1, 3),
                  rng.random(count) < (0.0 if ball else 0.4))


def _camera_motion(seconds: np.ndarray, size: int, pose: str, drift: np.ndarray,
                   rng: np.random.Generator) -> np.ndarray | None:
    """(T, 2, 3) similarities of the picture's pixels: pan, shake, zoom, or following the person; None if still.

    `drift` (T, 2): how the person moves in the picture, pixels.
    """
    kind = rng.random()
    follow = 0.35 if pose in ("walk", "run/jog", "dance", "jump/leap") else 0.0
    move = np.zeros((len(seconds), 2))
    zoom, roll = np.ones(len(seconds)), np.zeros(len(seconds))
    if kind < follow:
        move = -drift * rng.uniform(0.7, 1.05)
    elif kind < follow + 0.12:
        move = seconds[:, None] * rng.normal(0, 0.18, 2) * size
    elif kind > 0.75:
        pass
    else:
        return None
    if rng.random() < 0.7:
        frequencies, phases = rng.uniform(0.3, 5, 4), rng.uniform(0, 6.3, 4)
        waves = np.sin(6.283 * seconds[:, None] * frequencies + phases) * np.exp(rng.uniform(-1.5, 1.0))
        move = move + waves[:, :2] * 0.008 * size
        roll = waves[:, 2] * 0.006
        zoom = zoom + waves[:, 3] * 0.006 + seconds * rng.normal(0, 0.03)
    c, s, middle = np.cos(roll) * zoom, np.sin(roll) * zoom, size / 2
    out = np.empty((len(seconds), 2, 3))
    out[:, 0, 0], out[:, 0, 1], out[:, 1, 0], out[:, 1, 1] = c, -s, s, c
    out[:, 0, 2] = move[:, 0] + middle - c * middle + s * middle
    out[:, 1, 2] = move[:, 1] + middle - s * middle - c * middle
    return out


def _degrade(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise, gamma, colour, codec; (T, h, w, 3) float32 to uint8."""
    gain, lift = rng.uniform(0.75, 1.3), rng.uniform(-12, 30)
    tint = 1 + rng.normal(0, 0.06, 3)
    frames = frames * (gain * tint).astype(np.float32) + np.float32(lift)
    if rng.random() < 0.1:
        frames = np.repeat(frames.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.5:
        small = frames.shape[1:3]
        scale = rng.integers(1, 3)
        cells = 4, small[0] // scale + 1, small[1] // scale + 1, 1
        noise = rng.normal(0, rng.uniform(1, 9), cells).astype(np.float32)
        noise = np.repeat(np.repeat(noise, scale, 1), scale, 2)[:, : small[0], : small[1]]
        frames = frames + np.concatenate([noise[:, ::-1], noise, noise[:, :, ::-1], -noise[:, ::-1]])[: len(frames)]
    out = np.clip(frames, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.uniform(15, 75))
        for i, frame in enumerate(out):
            out[i] = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
    return out


def _to_tube(frames: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    if frames.shape[1] == size:
        return frames
    how = cv2.INTER_AREA if frames.shape[1] > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames])


def _visible(extent: np.ndarray, show: Performance, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The picture's edges (x1, y1, x2, y2) on the picture plane, and the person's box cut by them."""
    w, h = extent[2] - extent[0], extent[3] - extent[1]
    edge = np.array([-np.inf, -np.inf, np.inf, np.inf])
    kind = rng.random()
    if show.extra and kind < 0.35:  # someone before a webcam
        edge[3] = extent[3] - h * (rng.uniform(0.2, 0.4) if show.pose == "sit" else rng.uniform(0.3, 0.65))
    elif show.variant == "along" and kind < 0.6:  # from the waist up
        edge[3] = extent[3] - h * rng.uniform(0.3, 0.65)
    elif kind < (0.28 if show.pose == "run/jog" else 0.12):  # legs below the picture
        edge[3] = extent[3] - h * rng.uniform(0.08, 0.6)
    elif kind < 0.14:
        edge[1] = extent[1] + h * rng.uniform(0.02, 0.2)
    elif kind < 0.17:
        edge[0] = extent[0] + w * rng.uniform(0.05, 0.4)
    elif kind < 0.21:
        edge[2] = extent[2] - w * rng.uniform(0.05, 0.4)
    elif kind < 0.45:  # a border near by: the tube is filled by replication
        side = rng.integers(4)
        edge[side] = extent[side] + (1 if side > 1 else -1) * max(w, h) * rng.uniform(0, 0.3)
    box = np.concatenate([np.maximum(extent[:2], edge[:2]), np.minimum(extent[2:], edge[2:])])
    return edge, box


def _jitter(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the sides as detectors do."""
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    loose = rng.choice([0.0, 0.03, 0.065], p=[0.2, 0.5, 0.3])
    return box + size * rng.normal(0, 1, 4) * loose


def render_tube(seed: tuple[int, ...], recipe: TubeRecipe) -> TubeClip:
    """Render the clip of that seed."""
    rng = np.random.default_rng(seed)
    size, t = recipe.view.size_px, recipe.sampling.num_frames
    key = recipe.sampling.key_index
    seconds = source_seconds(recipe.sampling, rng)
    pose = str(rng.choice(POSES, p=SHARES / SHARES.sum()))
    show = sample_performance(pose, seconds, rng, recipe.held_out, street=not recipe.held_out)
    body, yaw = sample_body(rng), 0.0
    points, joints = forward(body, show.motion)
    mesh, lift = _furniture(show.props, joints[key, 0], points, yaw, rng)
    points = points + np.array([0, lift, 0])
    target = Actor(body, points)
    centre = points[key].mean(0)
    follows = show.act is not None and show.act.camera_moves
    camera = _camera_ahead(centre, rng) if follows else sample_camera(centre, rng)
    others = _others(int(rng.choice(4, p=[0.64, 0.24, 0.08, 0.04])), seconds, rng)
    if not recipe.held_out:
        others += _company(show, seconds, rng)
    if "barbell" in show.props:
        mesh = mesh + _barbell(joints[key], rng)
    extents = cone_extents(target, camera)
    edge, box = _visible(extents[key], show, rng)
    frames, tube_box, height = _draw(recipe, rng, target, others, mesh, camera, extents, edge, box, seconds, show)
    targets = np.zeros(len(NAMES), np.float32)
    targets[[NAMES.index(name) for name in (show.pose, *show.extra)]] = 1
    assert frames.shape == (t, size, size, 3)
    return TubeClip(frames, tube_box.astype(np.float32), targets, f"{show.pose}:{show.variant}", height)


def _camera_ahead(centre: np.ndarray, rng: np.random.Generator) -> Camera:
    """A camera that goes before someone who runs, or behind."""
    azimuth = np.pi * (rng.random() < 0.75) + rng.normal(0, 0.5)
    return look_at(centre, azimuth, np.deg2rad(rng.uniform(-2, 12)), rng.uniform(2.2, 8), np.deg2rad(rng.normal(0, 2)))


def _barbell(joints: np.ndarray, rng: np.random.Generator) -> Mesh:
    hands = (joints[7] + joints[12]) / 2 + np.array([0.1, -0.25, 0])
    hands[1] = max(hands[1], 0.25)
    mesh = box_mesh(hands, (0.03, 0.03, 1.9), 0.0, np.array([150.0, 150, 150]))
    for side in (-0.8, 0.8):
        mesh = mesh + box_mesh(hands + np.array([0, 0, side]), (0.4, 0.4, 0.08), 0.0, sample_colour(rng) * 0.5)
    return mesh


def _draw(recipe: TubeRecipe, rng: np.random.Generator, target: Actor, others: list[Actor], mesh: Mesh,
          camera: Camera, extents: np.ndarray, edge: np.ndarray, box: np.ndarray, seconds: np.ndarray,
          show: Performance) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw the clip; returns frames, the box in the tube, the person's height in the ring's pixels."""
    size, context = recipe.view.size_px, recipe.view.context
    seen = _jitter(box, rng)
    span = max(seen[2] - seen[0], seen[3] - seen[1])
    side = context * span
    corner = np.array([(seen[0] + seen[2] - side) / 2, (seen[1] + seen[3] - side) / 2])
    height_px = float(np.exp(rng.uniform(np.log(22), np.log(350))))  # of the longer side of the box, in the ring
    source = int(np.clip(round(context * height_px), 16, size))
    canvas = max(source * 2, 64) if source < size else int(size * 1.5)
    scale = canvas / side
    to_pixels = np.array([(scale, 0, -corner[0] * scale), (0, scale, -corner[1] * scale)])
    box_px = (seen - np.tile(corner, 2)) * scale
    key = recipe.sampling.key_index
    drift = (extents[:, :2] + extents[:, 2:]) / 2 - (extents[key, :2] + extents[key, 2:]) / 2
    motion = _camera_motion(seconds, canvas, show.pose, drift * scale, rng)
    # The horizon: where directions of no height meet the picture plane.
    level = camera.rotation @ np.array([camera.rotation[2, 0], 0.0, camera.rotation[2, 2]])
    ground_far = (level[1] / max(level[2], 1e-3)) * scale + to_pixels[1, 2]
    horizon = ground_far if rng.random() < 0.3 else min(max(ground_far, -canvas), canvas * rng.uniform(0.3, 0.9))
    margin = canvas // 2 if motion is not None else 0
    scene = sample_background((canvas + 2 * margin, canvas + 2 * margin), horizon + margin, rng, recipe.held_out)
    light = sample_light(rng)
    extras = _sample_extras(seconds, box_px, canvas, "ball" in show.props, rng)
    occluder = _sample_occluder(box_px, rng)
    edge_px = (edge - np.tile(corner, 2)) * scale
    frames = np.empty((len(seconds), source, source, 3), np.float32)
    before = None
    for i in range(len(seconds)):
        if i and seconds[i] == seconds[i - 1]:
            frames[i] = frames[i - 1]
            continue
        matrix, background = to_pixels, scene
        if motion is not None:
            m = motion[i]
            matrix = np.column_stack([m[:, :2] @ to_pixels[:, :2], m[:, :2] @ to_pixels[:, 2] + m[:, 2]])
            shifted = m.copy()
            shifted[:, 2] -= m[:, :2] @ np.array([margin, margin])
            background = cv2.warpAffine(scene, shifted, (canvas, canvas), flags=cv2.INTER_LINEAR,
                                        borderMode=cv2.BORDER_REFLECT)
        image = draw_scene(background, i, [target, *others], mesh, camera, matrix, light)
        extras.draw(image, i)
        if occluder is not None:
            x1, y1, x2, y2, colour = occluder
            cv2.rectangle(image, (x1, y1), (x2, y2), colour, -1)
        image = _cut(image, edge_px)
        frames[i] = cv2.resize(image, (source, source), interpolation=cv2.INTER_AREA)
    blur = rng.uniform(0, 0.5) if rng.random() < 0.35 else 0.0
    for i in range(len(frames)):  # a slow shutter or a codec that remembers
        if before is not None and blur:
            frames[i] = (1 - blur) * frames[i] + blur * before
        before = frames[i]
    out = _to_tube(_degrade(frames, rng), size, rng)
    return out, box_px * (size / canvas), height_px


def _sample_occluder(box: np.ndarray, rng: np.random.Generator) -> tuple | None:
    """Now and then a desk, post or wall before the person."""
    if rng.random() > 0.05:
        return None
    w, h = box[2] - box[0], box[3] - box[1]
    colour = tuple(float(c) for c in sample_colour(rng))
    if rng.random() < 0.6:
        x1, x2 = box[0] - w * rng.uniform(0, 1), box[2] + w * rng.uniform(0, 1)
        y1 = box[3] - h * rng.uniform(0.05, 0.45)
        return int(x1), int(y1), int(x2), int(box[3] + h), colour
    x1 = rng.uniform(box[0], box[2])
    return int(x1), int(box[1] - h), int(x1 + w * rng.uniform(0.05, 0.3)), int(box[3] + h), colour


def _cut(image: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Replicate the picture's borders where the tube reaches beyond them."""
    size = image.shape[0]
    x1, y1 = (int(np.clip(e, 0, size - 2)) for e in edge[:2])
    x2, y2 = (int(np.clip(e, 1, size)) for e in edge[2:])
    if (x1 == 0 and y1 == 0 and x2 == size and y2 == size) or x2 <= x1 + 1 or y2 <= y1 + 1:
        return image
    return cv2.copyMakeBorder(image[y1:y2, x1:x2], y1, size - y2, x1, size - x2, cv2.BORDER_REPLICATE)
