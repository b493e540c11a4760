"""Which moments make a clip."""

from __future__ import annotations

import numpy as np
import pytest

from detector.sampling import Sampling, slow_indices


def test_ava_clips_sit_round_the_key_frame_as_published():
    sampling = Sampling(32, 2, 30.0)
    key = 1000
    frames = np.rint(sampling.offsets_s * 30).astype(int) + key
    assert frames.tolist() == list(range(key - 32, key + 32, 2))
    assert frames[sampling.key_index] == key
    assert sampling.look_ahead_s == pytest.approx(1.0)
    assert sampling.span_s == pytest.approx(64 / 30)


def test_slow_pathway_does_not_take_every_fourth_frame():
    assert slow_indices(32, 4).tolist() == [0, 4, 8, 13, 17, 22, 26, 31]


@pytest.mark.parametrize(("frames", "alpha"), [(32, 4), (32, 8), (64, 4), (16, 4), (8, 2), (4, 1), (128, 8)])
def test_slow_indices_equal_torch(frames, alpha):
    torch = pytest.importorskip("torch")
    reference = torch.linspace(0, frames - 1, frames // alpha).long()
    assert slow_indices(frames, alpha).tolist() == reference.tolist()


@pytest.mark.parametrize("alpha", [0, -1, 5])
def test_alpha_must_divide_the_clip(alpha):
    with pytest.raises(ValueError, match="alpha"):
        slow_indices(32, alpha)
