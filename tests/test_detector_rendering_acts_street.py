"""Walking and standing as in streets: bends, strolls, small steps, company."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("pybullet_data")

from detector.rendering import tubes as render_tubes
from detector.rendering.acts.moving import act_walk
from detector.rendering.acts.street import act_stand_step, act_walk_bend, act_walk_stroll, beside
from detector.rendering.body import COLUMN
from detector.rendering.performance import sample_performance
from detector.rendering.tubes import TubeRecipe, render_tube

SECONDS = np.linspace(-0.8, 0.8, 17)
PLACE = [COLUMN["x"], COLUMN["z"]]


@pytest.mark.parametrize("seed", range(8))
def test_who_walks_a_bend_goes_where_the_body_faces_at_an_even_speed(seed):
    poses = act_walk_bend(np.random.default_rng(seed)).curve(SECONDS)
    move = np.diff(poses[:, PLACE], axis=0)
    faced = (poses[1:, COLUMN["yaw"]] + poses[:-1, COLUMN["yaw"]]) / 2
    gone = np.arctan2(-move[:, 1], move[:, 0])
    assert np.abs(np.angle(np.exp(1j * (gone - faced)))).max() < np.deg2rad(12)  # a step turns the trunk a little
    speed = np.linalg.norm(move, axis=1)
    assert speed.std() < 0.1 * speed.mean()
    assert np.allclose(poses[len(SECONDS) // 2, PLACE], 0, atol=0.02)


def test_bends_are_really_bent_and_strolls_slower():
    turned = [np.ptp(act_walk_bend(np.random.default_rng(s)).curve(SECONDS)[:, COLUMN["yaw"]]) for s in range(40)]
    assert np.rad2deg(np.median(turned)) > 40

    def speed(act):
        return np.ptp(act.curve(SECONDS)[:, COLUMN["x"]])

    for seed in range(10):
        quick, slow = act_walk(np.random.default_rng(seed)), act_walk_stroll(np.random.default_rng(seed))
        assert 0 < speed(slow) < 0.7 * speed(quick)


@pytest.mark.parametrize("seed", range(8))
def test_who_steps_while_standing_stays_within_half_a_metre(seed):
    act = act_stand_step(np.random.default_rng(seed))
    poses = act.curve(SECONDS)
    assert act.pose == "stand"
    assert np.linalg.norm(np.ptp(poses[:, PLACE], axis=0)) <= 0.5
    assert np.rad2deg(np.ptp(poses[:, COLUMN["yaw"]])) <= 170


@pytest.mark.parametrize("seed", range(6))
def test_company_walks_alongside(seed):
    act = act_walk(np.random.default_rng(seed))
    other = beside(act.curve, np.random.default_rng(seed + 100))(SECONDS)
    away = other[:, PLACE] - act.curve(SECONDS)[:, PLACE]
    assert np.linalg.norm(np.ptp(away, axis=0)) < 0.05
    assert abs(away[:, 1]).min() >= 0.45
    assert abs(away[:, 1]).max() <= 1.05


def test_streets_are_in_training_and_not_in_what_is_kept_for_validation(monkeypatch):
    seen = {s: {sample_performance("walk", SECONDS, np.random.default_rng(i), False, street=s).variant.split()[0]
                for i in range(40)} for s in (True, False)}
    assert {"bend", "stroll"} <= seen[True]
    assert not {"bend", "stroll"} & seen[False]
    asked = []

    def counted(*args, street=False):
        asked.append(street)
        return sample_performance(*args, street=street)

    def company(*args):
        asked.append("company")
        return []

    monkeypatch.setattr(render_tubes, "sample_performance", counted)
    monkeypatch.setattr(render_tubes, "_company", company)
    for i in range(4):
        render_tube((3, i), TubeRecipe(held_out=True))
    assert asked
    assert not any(asked)
    render_tube((3, 0), TubeRecipe())
    assert True in asked
    assert "company" in asked


def test_company_crosses_or_stays_within_a_few_metres():
    found = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        show = sample_performance(("walk", "stand")[seed % 2], SECONDS, rng, False, street=True)
        for actor in render_tubes._company(show, SECONDS, rng):
            found += 1
            nearest = np.linalg.norm(actor.points[..., [0, 2]].mean(1), axis=1).min()
            assert nearest < 2.5
    assert found > 8
    lying = sample_performance("lie/sleep", SECONDS, np.random.default_rng(0), False)
    assert render_tubes._company(lying, SECONDS, np.random.default_rng(0)) == []
