"""It learns to find people: Faster R-CNN from random weights on rendered pictures, by `--recipe person`.

No COCO weights are needed, so the people are easy: one or two that stand or walk, half of a small picture tall, before
clouds of one colour and a few flat shapes, by the generator's own motions, bodies, cameras and lights. Their boxes are
exact. What is proven is the recipe and its figures, not a detector for real pictures.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detector.data.transforms import Augmentation
from detector.errors import run_command
from detector.person.select import create_person_detector
from detector.rendering.body import sample_body, sample_colour
from detector.rendering.scene import cone_extents
from detector.rendering.video import Part, Role, Shot, draw_video, perform, sample_act, sample_shot
from detector.training import person
from detector.training.__main__ import main
from detector.training.paper import PLANS

SIZE = 256
POSES = ("stand", "walk")
TRAINING_PICTURES, HELD_OUT_PICTURES = 600, 60
NOW_S = np.zeros(1)
NUMBERS = (
    "steps=300", "validate_every=300", "batch=4", "accumulation=1", "norm=local", "optimizer=adamw", "rate=1e-3",
    "rate_batch=0", "rate_factors=detector.roi_heads*:0.1", "schedule=cosine", "warmup_steps=20", "clip_norm=5",
    "ema_decay=0.98",
)


def draw_background(rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) float32 RGB: clouds of one colour, and up to four boxes and ellipses that are nobody."""
    clouds = cv2.resize(rng.normal(0, 12, (6, 6, 3)).astype(np.float32), (SIZE, SIZE))
    image = np.full((SIZE, SIZE, 3), sample_colour(rng), np.float32) + clouds
    for _ in range(rng.integers(0, 5)):
        colour = tuple(sample_colour(rng).tolist())
        centre, half = rng.integers(0, SIZE, 2), rng.integers(6, 45, 2)
        if rng.random() < 0.5:
            cv2.rectangle(image, (centre - half).tolist(), (centre + half).tolist(), colour, -1)
        else:
            cv2.ellipse(image, centre.tolist(), half.tolist(), rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    return image


def draw_picture(seed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture (256, 256, 3) uint8 RGB and its people's boxes (N, 4), N 1 or 2, in pixels."""
    rng = np.random.default_rng(seed)
    drawn = sample_shot((SIZE, SIZE), rng, person_px=rng.uniform(110, 170))
    shot = Shot(drawn.camera, drawn.focal, drawn.size_wh, drawn.light, draw_background(rng))
    half_width_m = 0.5 * SIZE / shot.focal * np.linalg.norm(shot.camera.position)
    # Side by side, so that nobody hides another.
    shares = [rng.uniform(-0.6, 0.6)] if rng.random() < 0.5 else [rng.uniform(-0.7, -0.4), rng.uniform(0.4, 0.7)]
    roles = []
    for share in shares:
        act, place = sample_act(str(rng.choice(POSES)), rng), share * half_width_m * shot.camera.rotation[0, [0, 2]]
        roles.append(Role(sample_body(rng), (Part(0, 2, act),), tuple(place), rng.uniform(0, 6.3), len(roles) + 1))
    extents = np.concatenate([cone_extents(perform(role, NOW_S)[0], shot.camera) for role in roles])
    return next(draw_video(shot, roles, NOW_S, 0.0, 3.0, rng)), (extents * shot.focal + SIZE / 2).clip(0, SIZE)


def write_pictures(path: Path, split: int, count: int) -> Path:
    """Write a CSV of one's own, with a folder of one picture for each of its key frames beside it."""
    rows = []
    for i in range(count):
        image, boxes = draw_picture((split, i))
        folder = path.parent / f"{path.stem}_{i}"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "0.png"), image[..., ::-1])
        rows += [f"{folder.name},0,{','.join(f'{share:.4f}' for share in box / SIZE)},person" for box in boxes]
    path.write_text("\n".join(rows) + "\n")
    return path


def create_quick_network(init: str, create=person.create_person_network) -> person.PersonNetwork:
    """The recipe's network, with fewer proposals and 32 of torchvision's 512 samples a picture: less work."""
    network = create(init)
    network.detector.roi_heads.fg_bg_sampler.batch_size_per_image = 32
    network.detector.rpn._pre_nms_top_n["training"] = network.detector.rpn._post_nms_top_n["training"] = 500
    return network


def train_on_pictures(folder: Path, seed: int, monkeypatch) -> dict[str, float]:
    """Run the command; its figures on the held-out pictures. folder/run gets person.pth."""
    train = write_pictures(folder / "train.csv", 0, TRAINING_PICTURES)
    held_out = write_pictures(folder / "held_out.csv", 1, HELD_OUT_PICTURES)
    monkeypatch.setattr(person, "create_person_network", create_quick_network)
    # One size for all, so that batch norm sees several pictures at once: random weights need its statistics.
    one_size = replace(PLANS["person"], augmentation=Augmentation((SIZE, SIZE), 0, 0.5))
    monkeypatch.setitem(PLANS, "person", one_size)
    arguments = [
        "--recipe", "person", "--data", str(train), "--val", str(held_out), "--init", "random:torchvision_mobilenet",
        "--output", str(folder / "run"), "--device", "cpu", "--workers", "0", "--threads", "1",
        *(part for number in (*NUMBERS, f"seed={seed}") for part in ("--set", number)),
    ]
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    torch.manual_seed(seed)
    assert run_command(main) == 0
    return json.loads((folder / "run/metrics.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_faster_rcnn_learns_to_find_people_and_its_file_streams(tmp_path, monkeypatch):
    trained = train_on_pictures(tmp_path, 0, monkeypatch)
    pictures = [draw_picture((1, i)) for i in range(HELD_OUT_PICTURES)]
    wanted = [boxes for _, boxes in pictures]
    torch.manual_seed(0)
    network = person.create_person_network("random:torchvision_mobilenet").eval()
    with torch.inference_mode():
        found = [network.find(torch.from_numpy(image)[None]) for image, _ in pictures]
    untrained = person.measure_people(found, wanted)
    detector = create_person_detector(str(tmp_path / "run/person.pth"), threshold=0.8, device="cpu")
    boxes = [detector.detect(np.ascontiguousarray(image[..., ::-1])) for image, _ in pictures]
    streamed = person.measure_people([(b.xyxy, b.score) for b in boxes], wanted)
    print(f"\ntrained: {trained}\nuntrained: {untrained}\nstreamed: {streamed}")
    assert max(untrained.ap50, untrained.recall) < 0.05
    assert trained["AP50"] >= 0.85
    for figures in (trained, vars(streamed)):
        assert figures["recall"] >= 0.6
        assert figures["precision"] >= 0.85
