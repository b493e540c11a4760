"""Where to look closer: crops that cover, by counting pixels."""

from __future__ import annotations

import numpy as np
import pytest

from detector.person.tiling import cover, crop_side, crops_round, grid, is_inside, squares

SIZES = [(576, 768), (720, 1280), (1920, 1080), (240, 320), (100, 100), (37, 500), (1, 1)]


@pytest.mark.parametrize("size_hw", SIZES)
def test_the_grid_covers_every_pixel_and_stays_inside(size_hw):
    side = crop_side(size_hw)
    seen = np.zeros(size_hw, bool)
    for x, y in grid(size_hw, side):
        assert x >= 0
        assert y >= 0
        assert x + side <= size_hw[1]
        assert y + side <= size_hw[0]
        seen[y : y + side, x : x + side] = True
    assert seen.all()


def test_a_person_of_a_third_of_a_crop_is_whole_in_some_crop_of_the_grid():
    size_hw, side = (720, 1280), crop_side((720, 1280))
    rng = np.random.default_rng(0)
    wh = np.array([0.12, 0.29]) * side
    left_top = rng.uniform(0, [1280 - wh[0], 720 - wh[1]], (300, 2))
    people = np.concatenate([left_top, left_top + wh], axis=1)
    whole = np.zeros(300, bool)
    for corner in grid(size_hw, side):
        whole |= is_inside(people, tuple(corner), side, size_hw, 0.0)
    assert whole.all()


@pytest.mark.parametrize(("size_hw", "count"), [((576, 768), 0), ((480, 640), 0), ((720, 1280), 2), ((1280, 720), 2)])
def test_only_wide_and_tall_pictures_are_looked_at_in_squares(size_hw, count):
    assert len(squares(size_hw)) >= count
    assert bool(len(squares(size_hw))) == bool(count)


def test_nobody_needs_no_crop():
    assert cover(np.zeros((0, 4)), (576, 768), 288, 8).shape == (0, 2)


def test_a_group_shares_one_crop_with_everyone_well_inside():
    people = np.array([[300, 200, 330, 280], [350, 210, 380, 290], [420, 190, 450, 270]], np.float32)
    corners = cover(people, (576, 768), 288, 8)
    assert len(corners) == 1
    assert is_inside(people, tuple(corners[0]), 288, (576, 768), 10.0).all()


@pytest.mark.parametrize("seed", range(5))
def test_everyone_is_covered_by_no_more_crops_than_people(seed):
    rng = np.random.default_rng(seed)
    left_top = rng.uniform(0, [730, 490], (12, 2))
    people = np.concatenate([left_top, left_top + np.array([35, 85])], axis=1).astype(np.float32)
    corners = cover(people, (576, 768), 288, 12)
    assert len(corners) <= 8
    covered = np.zeros(12, bool)
    for corner in corners:
        covered |= is_inside(people, tuple(corner), 288, (576, 768), 0.0)
    assert covered.all()


def test_the_limit_holds():
    people = np.array([[x, 0, x + 30, 80] for x in range(0, 4000, 400)], np.float32)
    assert len(cover(people, (576, 4096), 288, 3)) == 3


def test_an_edge_of_the_crop_cuts_but_an_edge_of_the_picture_does_not():
    size_hw, side = (100, 200), 50
    at_corner = np.array([[0, 0, 20, 40]], np.float32)
    assert is_inside(at_corner, (0, 0), side, size_hw, 3.0).all()
    assert not is_inside(at_corner + 50, (50, 50), side, size_hw, 3.0).any()
    assert is_inside(at_corner + 55, (50, 50), side, size_hw, 3.0).all()


def test_crops_round_large_people_show_each_whole_and_large():
    people = np.array([[100, 50, 300, 650], [250, 80, 420, 600], [900, 200, 1000, 460]], np.float32)
    crops = crops_round(people, (720, 1280))
    assert len(crops) == 2  # two stand side by side
    for box in people:
        fitting = [c for c in crops if is_inside(box[None], c[:2], c[2], (720, 1280), 0.02 * c[2])[0]]
        assert any(box[3] - box[1] >= 0.35 * c[2] for c in fitting)
    for x, y, side in crops:
        assert min(x, y) >= 0
        assert x + side <= 1280
        assert y + side <= 720


def test_someone_as_large_as_the_picture_gets_its_short_side():
    assert crops_round(np.array([[0, 0, 640, 480]], np.float32), (480, 640)) == [(80, 0, 480)]
    assert crops_round(np.zeros((0, 4), np.float32), (480, 640)) == []
