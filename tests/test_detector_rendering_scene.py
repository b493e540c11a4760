"""Drawing: shapes of known size, depth order, cameras, boxes that fit what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from detector.rendering.body import forward, motion_of_poses, sample_body
from detector.rendering.motion import ACTS
from detector.rendering.raster import draw_cones, draw_triangles
from detector.rendering.scene import (
    EMPTY_MESH,
    Actor,
    Light,
    box_mesh,
    cone_extents,
    draw_scene,
    look_at,
    sample_background,
)

LIGHT = np.array([0.0, 0.0, -1.0])


def blank(size=64):
    return np.zeros((size, size, 3), np.float32), np.full((size, size), 1e9, np.float32)


def draw(image, depth, ends, radii, colours):
    k = len(ends)
    draw_cones(image, depth, np.array(ends, float), np.array(radii, float), np.array(radii, float) / 100,
               np.array(colours, np.float32), np.zeros((k, 3), np.float32), np.zeros(k, np.int64), np.ones(k), LIGHT,
               1.0, 0.0)


def test_a_sphere_covers_pi_r_squared_and_a_capsule_adds_its_length():
    image, depth = blank()
    draw(image, depth, [[(32, 32, 5), (32, 32, 5)]], [(10, 10)], [(200, 100, 50)])
    assert (image[..., 0] > 0).sum() == pytest.approx(np.pi * 100, rel=0.03)
    assert np.allclose(image[32, 32], (200, 100, 50), atol=1)
    assert depth[32, 32] == pytest.approx(5 - 0.1, abs=2e-3)
    image, depth = blank()
    draw(image, depth, [[(20, 32, 5), (44, 32, 5)]], [(6, 6)], [(200, 100, 50)])
    assert (image[..., 0] > 0).sum() == pytest.approx(np.pi * 36 + 24 * 12, rel=0.04)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nearer_wins_whatever_the_order(order):
    image, depth = blank()
    ends = [[(32, 32, 4), (32, 32, 4)], [(32, 32, 6), (32, 32, 6)]]
    colours = [(255, 0, 0), (0, 255, 0)]
    draw(image, depth, [ends[i] for i in order], [(8, 8)] * 2, [colours[i] for i in order])
    assert image[32, 32, 0] > 200
    assert image[32, 32, 1] == 0


def test_what_lies_outside_the_picture_or_behind_the_camera_is_not_drawn():
    image, depth = blank()
    draw(image, depth, [[(-50, 32, 5), (-40, 32, 5)], [(32, 32, -1), (32, 32, 5)]], [(5, 5)] * 2, [(255,) * 3] * 2)
    assert not image.any()


def test_a_triangle_covers_half_its_square_and_hides_what_is_behind():
    image, depth = blank()
    corners = np.array([[(10, 10, 3), (50, 10, 3), (10, 50, 3)]], float)
    draw_triangles(image, depth, corners, np.array([(10.0, 20, 30)]), 0.0)
    assert (image[..., 2] > 0).sum() == pytest.approx(800, rel=0.05)
    draw(image, depth, [[(20, 20, 5), (20, 20, 5)]], [(4, 4)], [(255, 0, 0)])
    assert image[20, 20, 2] == 30


def test_a_camera_sees_its_target_in_the_middle_and_higher_things_higher():
    target = np.array([1.0, 1.0, -2.0])
    camera = look_at(target, 0.7, 0.3, 5.0)
    assert np.allclose(camera.project(target), (0, 0, 5), atol=1e-9)
    assert camera.project(target + np.array([0, 0.5, 0]))[1] < 0
    assert np.allclose(camera.rotation @ camera.rotation.T, np.eye(3))
    assert np.linalg.det(camera.rotation) == pytest.approx(1)


@pytest.mark.parametrize("name", ["stand", "sit", "lie/sleep", "jump/leap"])
def test_boxes_fit_the_drawn_people_to_a_pixel(name):
    rng = np.random.default_rng(5)
    body = sample_body(rng)
    points, _ = forward(body, motion_of_poses(ACTS[name](rng).curve(np.array([0.0]))))
    camera = look_at(points[0].mean(0), 0.4, 0.2, 8.0)
    actor = Actor(body, points)
    scale, size = 700.0, 256
    to_pixels = np.array([(scale, 0, size / 2), (0, scale, size / 2)])
    black = np.full((size, size, 3), -1, np.float32)
    image = draw_scene(black, 0, [actor], EMPTY_MESH, camera, to_pixels, Light(np.array([0, 1.0, 0]), 0.5, 0.0, 0.0))
    rows, columns = np.nonzero(image[..., 0] >= 0)
    drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    box = cone_extents(actor, camera)[0] * scale + size / 2
    assert np.abs(drawn - box).max() < 1.6


def test_backgrounds_have_no_nan_and_follow_their_seed():
    for seed in range(8):
        first, second = (sample_background((80, 60), 30.0, np.random.default_rng(seed)) for _ in range(2))
        assert first.shape == (60, 80, 3)
        assert np.isfinite(first).all()
        assert first.min() >= 0
        assert first.max() <= 255
        assert np.array_equal(first, second)


def test_a_box_of_furniture_has_its_size():
    mesh = box_mesh(np.array([1.0, 2.0, 3.0]), (0.4, 0.6, 0.8), 0.0, np.array([100.0, 100, 100]))
    corners = mesh.corners.reshape(-1, 3)
    assert np.allclose(np.ptp(corners, axis=0), (0.4, 0.6, 0.8))
    assert np.allclose(corners.mean(0), (1, 2, 3), atol=0.2)
