"""Where rendered people are: cameras, backgrounds, furniture, and drawing all of it into a picture.

World: metres, y up, ground at 0. Camera axes: x right, y down, z forward. Pictures are float32 RGB, 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from detector.rendering.body import Body, sample_colour
from detector.rendering.raster import draw_cones, draw_shadows, draw_triangles

# Pictures without people that installed packages carry. skimage: public domain or CC0; scikit-learn: CC BY 2.0
# (China, by Eduardo M. C.; flower, by dany13); pybullet_data: zlib. Read for training only, copied nowhere.
PHOTOS = (
    ("skimage", "data/brick.png"), ("skimage", "data/grass.png"), ("skimage", "data/gravel.png"),
    ("skimage", "data/coffee.png"), ("skimage", "data/rocket.jpg"), ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/motorcycle_right.png"), ("skimage", "data/chelsea.png"), ("skimage", "data/coins.png"),
    ("skimage", "data/hubble_deep_field.jpg"), ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"), ("pybullet_data", "table/table.png"),
    ("pybullet_data", "roboschool/models_outdoor/stadium/stadium_grass.jpg"), ("pybullet_data", "tray/tray.jpg"),
)
HELD_OUT_PHOTOS = ("coffee.png", "gravel.png", "china.jpg")


@cache
def load_photos(held_out: bool) -> tuple[np.ndarray, ...]:
    """RGB uint8 photos; those of `HELD_OUT_PHOTOS`, or the others."""
    import importlib.util

    photos = []
    for package, name in PHOTOS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations or (Path(name).name in HELD_OUT_PHOTOS) != held_out:
            continue
        image = cv2.imread(str(Path(spec.submodule_search_locations[0]) / name))
        if image is not None:
            photos.append(np.ascontiguousarray(image[..., ::-1]))
    return tuple(photos)


@dataclass(frozen=True)
class Camera:
    """A pinhole. Unit focal length: its picture plane is in tangents of angles.

    Attributes:
        position: (3,) metres.
        rotation: (3, 3) world to camera axes.
    """

    position: np.ndarray
    rotation: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world metres to (..., 3): x / z, y / z, z."""
        view = (points - self.position) @ self.rotation.T
        z = np.maximum(view[..., 2], 0.05)
        return np.stack([view[..., 0] / z, view[..., 1] / z, view[..., 2]], -1)


def look_at(target: np.ndarray, azimuth: float, pitch: float, distance: float, roll: float = 0.0) -> Camera:
    """A camera `distance` metres from a point, looking down on it by `pitch` radians."""
    forward = np.array([np.cos(azimuth) * np.cos(pitch), -np.sin(pitch), np.sin(azimuth) * np.cos(pitch)])
    right = np.array([-np.sin(azimuth), 0.0, np.cos(azimuth)])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return Camera(target - distance * forward, np.stack([c * right + s * down, c * down - s * right, forward]))


def sample_camera(target: np.ndarray, rng: np.random.Generator) -> Camera:
    """Mostly at eye height or below a ceiling, 2 to 45 m away."""
    high = rng.random() < 0.5
    pitch = rng.uniform(8, 42) if high else rng.normal(2, 5)
    distance = np.exp(rng.uniform(np.log(2.2), np.log(45)))
    pitch = min(pitch, 60.0)
    pitch_r = np.deg2rad(max(pitch, -8.0))
    # A camera does not look out of the ground.
    pitch_r = max(pitch_r, np.arcsin(np.clip((0.3 - target[1]) / distance, -1, 1)))
    return look_at(target, rng.uniform(0, 2 * np.pi), pitch_r, distance, np.deg2rad(rng.normal(0, 1.5)))


# ---------------------------------------------------------------------------------------------------- backgrounds
def _photo_crop(size_wh: tuple[int, int], rng: np.random.Generator, held_out: bool) -> np.ndarray:
    photos = load_photos(held_out)
    image = photos[rng.integers(len(photos))]
    h, w = image.shape[:2]
    side = rng.uniform(0.25, 1.0) * min(h, w)
    aspect = size_wh[0] / size_wh[1]
    cw, ch = int(min(side * max(aspect, 1), w)), int(min(side / min(aspect, 1), h))
    x, y = rng.integers(w - cw + 1), rng.integers(h - ch + 1)
    crop = cv2.resize(image[y : y + ch, x : x + cw], size_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop * (rng.uniform(0.6, 1.3) * rng.uniform(0.85, 1.15, 3)).astype(np.float32)


def _texture(size_wh: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise of one colour at one to three scales."""
    w, h = size_wh
    out = np.zeros((h, w, 1), np.float32)
    for _ in range(rng.integers(1, 4)):
        cells = int(np.exp(rng.uniform(np.log(2), np.log(64))))
        stretch = rng.choice([1, 1, 4])
        noise = rng.normal(0, 1, (max(cells // stretch, 2), cells)).astype(np.float32)
        out += cv2.resize(noise, (w, h), interpolation=cv2.INTER_LINEAR)[..., None] * rng.uniform(2, 22)
    base = 0.75 * sample_colour(rng, 0.8) + rng.uniform(10, 90)
    return out + base.astype(np.float32)


def _clutter(image: np.ndarray, horizon: float, rng: np.random.Generator) -> None:
    """Doors, windows, shelves, posts, trees: flat shapes behind the people."""
    h, w = image.shape[:2]
    for _ in range(rng.integers(0, 12)):
        colour = tuple(float(c) for c in sample_colour(rng))
        kind, x, size = rng.integers(4), int(rng.integers(w)), w * np.exp(rng.uniform(np.log(0.03), np.log(0.5)))
        y = int(horizon + rng.normal(0, 0.25) * h)
        if kind == 0:
            top = (x, int(y - size * rng.uniform(0.3, 2.5)))
            cv2.rectangle(image, top, (int(x + size), y), colour, -1)
            if rng.random() < 0.5:
                cv2.rectangle(image, top, (int(x + size), y), tuple(0.6 * c for c in colour), max(int(w * 0.01), 1))
        elif kind == 1:
            end = (int(x + rng.normal(0, 0.4) * w), int(y + rng.normal(0, 0.6) * h))
            cv2.line(image, (x, y), end, colour, max(int(w * rng.uniform(0.004, 0.04)), 1), cv2.LINE_AA)
        elif kind == 2:
            axes = (int(size / 2) + 1, int(size * rng.uniform(0.2, 0.8)) + 1)
            cv2.ellipse(image, (x, y), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            points = np.array([x, y]) + rng.normal(0, size / 2, (rng.integers(3, 7), 2))
            cv2.fillConvexPoly(image, cv2.convexHull(points.astype(np.int32)), colour)


def sample_background(size_wh: tuple[int, int], horizon: float, rng: np.random.Generator,
                      held_out: bool = False) -> np.ndarray:
    """Draw a scene without people.

    Args:
        size_wh: of the picture.
        horizon: row at which floor meets wall or sky.
        held_out: use the photos kept for validation.

    Returns:
        (h, w, 3) float32 RGB.
    """
    w, h = size_wh
    kind = rng.random()
    if kind < 0.15:
        image = _photo_crop(size_wh, rng, held_out)
    elif kind < 0.25:
        image = np.broadcast_to(_texture(size_wh, rng), (h, w, 3)).copy()
    else:
        floor = _photo_crop(size_wh, rng, held_out) if rng.random() < 0.35 else _texture(size_wh, rng)
        wall = _photo_crop(size_wh, rng, held_out) if rng.random() < 0.25 else _texture(size_wh, rng)
        row = np.arange(h, dtype=np.float32)[:, None, None] - horizon
        slope = (np.arange(w, dtype=np.float32) * rng.normal(0, 0.1) * (rng.random() < 0.3))[None, :, None]
        image = np.where(row > slope, floor, wall) * (1 + 0.15 * rng.normal() * row / h)
        image = np.ascontiguousarray(np.broadcast_to(image, (h, w, 3)).astype(np.float32))
    if rng.random() < 0.8:
        _clutter(image, horizon, rng)
    if rng.random() < 0.6:
        sigma = np.exp(rng.uniform(np.log(0.4), np.log(4)))
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.clip(image, 0, 255)


# ------------------------------------------------------------------------------------------------------ furniture
_FACES = np.array([(0, 1, 3), (0, 3, 2), (4, 5, 7), (4, 7, 6), (0, 1, 5), (0, 5, 4), (2, 3, 7), (2, 7, 6),
                   (0, 2, 6), (0, 6, 4), (1, 3, 7), (1, 7, 5)])
_SHADE = np.repeat([0.6, 1.0, 0.7, 0.75, 0.85, 0.9], 2)


@dataclass(frozen=True)
class Mesh:
    """M triangles: corners (M, 3, 3) world metres, colours (M, 3)."""

    corners: np.ndarray
    colours: np.ndarray

    def __add__(self, other: Mesh) -> Mesh:
        return Mesh(np.concatenate([self.corners, other.corners]), np.concatenate([self.colours, other.colours]))


def box_mesh(centre: np.ndarray, size: tuple[float, float, float], yaw: float, colour: np.ndarray) -> Mesh:
    """A box of that size (x, y, z metres) turned about the upright."""
    signs = np.array([(x, y, z) for y in (-1, 1) for x in (-1, 1) for z in (-1, 1)]) / 2.0
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([(c, 0, s), (0, 1, 0), (-s, 0, c)])
    corners = centre + (signs * np.array(size)) @ turn.T
    return Mesh(corners[_FACES], np.clip(colour[None] * _SHADE[:, None], 0, 255))


EMPTY_MESH = Mesh(np.zeros((0, 3, 3)), np.zeros((0, 3)))


def sample_chair(seat: np.ndarray, yaw: float, rng: np.random.Generator) -> Mesh:
    """Something to sit on whose seat's middle is at `seat`: chair, stool, sofa, box; open side along yaw's +x."""
    colour, kind = sample_colour(rng), rng.random()
    c, s = np.cos(yaw), -np.sin(yaw)
    forward = np.array([c, 0, s])
    width = rng.uniform(0.42, 0.55) if kind < 0.7 else rng.uniform(0.8, 1.8)
    thick = rng.uniform(0.04, 0.12) if kind < 0.7 else max(seat[1], 0.1)
    mesh = box_mesh(seat - np.array([0, thick / 2, 0]), (0.48, thick, width), yaw, colour)
    if kind < 0.6 or kind > 0.75:
        back = rng.uniform(0.3, 0.65)
        mesh += box_mesh(seat - 0.25 * forward + np.array([0, back / 2, 0]), (0.06, back, width), yaw, colour * 0.9)
    if kind < 0.7:
        dark = colour * rng.uniform(0.2, 1.0)
        side = np.array([-s, 0, c])
        for a in (-1, 1):
            for b in (-1, 1):
                leg = seat + 0.2 * a * forward + 0.45 * b * width * side
                leg[1] = seat[1] / 2
                mesh += box_mesh(leg, (0.04, max(seat[1], 0.05), 0.04), yaw, dark)
    if rng.random() < 0.2:  # a desk in front
        desk = seat + forward * rng.uniform(0.55, 0.7)
        top = seat[1] + rng.uniform(0.2, 0.32)
        desk[1] = top
        mesh += box_mesh(desk, (0.6, 0.04, rng.uniform(0.8, 1.5)), yaw, sample_colour(rng))
        if rng.random() < 0.5:
            desk[1] = top / 2
            mesh += box_mesh(desk, (0.5, top, 0.9), yaw, sample_colour(rng))
    return mesh


# -------------------------------------------------------------------------------------------------------- drawing
@dataclass(frozen=True)
class Light:
    """Direction towards the light (world, unit), share of light from everywhere, strength of shadows, wrinkles."""

    direction: np.ndarray
    ambient: float
    shadow: float
    folds: float


def sample_light(rng: np.random.Generator) -> Light:
    """Sun, lamp or overcast."""
    azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 85))
    direction = np.array([np.cos(azimuth) * np.cos(height), np.sin(height), np.sin(azimuth) * np.cos(height)])
    return Light(direction, rng.uniform(0.3, 0.8), rng.choice([0.0, rng.uniform(0.1, 0.6)], p=[0.3, 0.7]),
                 rng.uniform(0, 0.3))


@dataclass(frozen=True)
class Actor:
    """A body with its points (T, P, 3) in the world."""

    body: Body
    points: np.ndarray


def cone_extents(actor: Actor, camera: Camera) -> np.ndarray:
    """(T, 4) x1, y1, x2, y2 of a body on the picture plane (unit focal length): exact up to perspective of spheres."""
    ends = camera.project(actor.points[:, actor.body.cones[:, :2]])
    reach = actor.body.radii / np.maximum(ends[..., 2], 0.05)
    x, y = ends[..., 0], ends[..., 1]
    return np.stack([(x - reach).min((1, 2)), (y - reach).min((1, 2)), (x + reach).max((1, 2)),
                     (y + reach).max((1, 2))], 1)


def draw_scene(background: np.ndarray, moment: int, actors: list[Actor], mesh: Mesh, camera: Camera,
               to_pixels: np.ndarray, light: Light) -> np.ndarray:
    """Draw one moment over a background.

    Args:
        background: (H, W, 3) float32 RGB, not changed.
        moment: index into the actors' T.
        to_pixels: (2, 3) similarity from the picture plane to pixels.

    Returns:
        (H, W, 3) float32 RGB.
    """
    image = background.copy()
    h, w = image.shape[:2]
    scale = float(np.hypot(to_pixels[0, 0], to_pixels[1, 0]))

    def pixels(points: np.ndarray) -> np.ndarray:
        p = camera.project(points)
        p[..., :2] = p[..., :2] @ to_pixels[:, :2].T + to_pixels[:, 2]
        return p

    if light.shadow > 0:
        mask = np.zeros((h, w), np.float32)
        squash = max(abs(float(camera.rotation[2, 1])), 0.06)
        for actor in actors:
            ends = actor.points[moment][actor.body.cones[:, :2]]
            ground = ends - light.direction * (ends[..., 1:2] / light.direction[1])
            flat = pixels(ground)
            radius = actor.body.radii.mean(1) * scale / np.maximum(flat[..., 2].mean(1), 0.2)
            draw_shadows(mask, np.ascontiguousarray(flat[..., :2]), radius, squash)
        blur = max(int(h * 0.01) * 2 + 1, 3)
        image *= 1 - light.shadow * cv2.blur(mask, (blur, blur))[..., None]
    depth = np.full((h, w), 1e9, np.float32)
    if len(mesh.corners):
        draw_triangles(image, depth, pixels(mesh.corners), mesh.colours.astype(np.float64), 0.06)
    direction = camera.rotation @ light.direction
    for actor in actors:
        body = actor.body
        ends = pixels(actor.points[moment][body.cones[:, :2]])
        radii = body.radii * scale / np.maximum(ends[..., 2], 0.05)
        draw_cones(image, depth, ends, radii, body.radii, body.colours, body.colours2, body.patterns, body.frequency,
                   direction, light.ambient, light.folds)
    return image
