"""People hidden behind others, found by their faces.

A detector gives two people who stand behind one another one box, and often none to someone of whom only a face and
an arm show. PoseNet, which looks for points and not for whole people, still sees that face. So each found person is
looked at closely; a face that is none of the people's who have a box is looked at again, from near and far, and one
that stands up to it becomes a person.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np

from detector.person import PersonDetector
from detector.person.posenet import (
    LEFT_EAR,
    LEFT_EYE,
    LEFT_HIP,
    NOSE,
    RIGHT_EAR,
    RIGHT_EYE,
    RIGHT_HIP,
    STRIDE_PX,
    PoseNet,
)
from detector.types import Boxes, iou

# People lower than this are not looked at: on vtest.avi faces are told apart from 70 px on.
MIN_HEIGHT_PX = 60
# So many people are looked at in one picture: the largest, and of the others some in turn.
MAX_LOOKS = 4
# A first look is a square of this part of the person's height, which starts so much above the box.
LOOK_OF_HEIGHT, ABOVE_OF_HEIGHT = 0.76, 0.04
# What a first look takes for a face that is worth more looks. One that was found lately needs less.
FIRST_NOSE, FIRST_EYE = 0.5, 0.3
KNOWN_NOSE, KNOWN_EYE = 0.3, 0.15
# Two faces are one when the noses are nearer than this, or an eye or nose coincides; over the person's height.
SAME_FACE, SAME_POINT = 0.09, 0.02
# More looks, the nose in the middle and off it, mirrored and not: PoseNet's scores change by half when a picture is
# shifted by some pixels, their mean over all looks does not. (Side over the person's height, shift over the side.)
LOOKS = tuple(
    (side, (i + mirrored) % 2 * 0.15, bool(mirrored))
    for i, side in enumerate((0.7, 0.9, 0.5, 0.8, 0.6, 1.0, 0.4)) for mirrored in (0, 1)
)
# After so many looks with a mean below this, no more are taken.
ENOUGH_LOOKS, HOPELESS = 4, 0.5
# How far from the nose the points of its face may be, over the person's height or the look's side.
FACE_OF_HEIGHT, FACE_OF_LOOK = 0.06, 0.08
# A face: the lesser of nose and eye this sure on average, or less sure where an ear shows as well. In the real videos
# that this was set on, all 22 over the first bar were faces; hands on dark clothes reach 0.80 with an ear of 0.55.
SURE_WITHOUT_EAR, SURE_WITH_EAR, SURE_EAR = 0.85, 0.65, 0.6
# For a face that was found lately, and for the one that a box is said to belong to, few looks and this are enough.
KNOWN_LOOKS, KNOWN_SURE = 6, 0.35
# Lately: within this of where it was (over the person's height), at most so many pictures ago.
KNOWN_NEAR, KNOWN_PICTURES = 0.3, 4
# So many faces at most are looked at more closely in one picture.
MAX_CHECKED = 2

# A standing person's measures over the height: nose to eye, eye to ear, nose to hips, nose below the top, width.
_NOSE_TO_EYE, _EYE_TO_EAR, _NOSE_TO_HIPS, _NOSE_BELOW_TOP, _WIDTH = 0.022, 0.038, 0.42, 0.09, 0.42
# A point of the hidden person's own: this sure, and this far from the same point of anybody else, over the height.
_OWN_POINT, _OTHERS_POINT, _OWN_DISTANCE = 0.5, 0.3, 0.08
# A new box that lies on an old one like this is the same person's.
_SAME_PERSON_IOU = 0.8


@dataclass(frozen=True, eq=False)
class _Face:
    """A pose that may have a face.

    Attributes:
        height: of the person's box that it was seen in or beside, pixels.
        pose: (17, 3) x, y, score in pixels of the picture.
        looks: scores of the further looks so far, in the order of `LOOKS`: the lesser of the nose's and the better
            eye's, and the better ear's.
    """

    height: float
    pose: np.ndarray
    looks: list[tuple[float, float]] = field(default_factory=list)

    @property
    def nose(self) -> np.ndarray:
        """(2,) x and y."""
        return self.pose[NOSE, :2]

    @property
    def rank(self) -> float:
        """How well the pose fills the person's box: its mean score by the part of the height that its points span."""
        y = self.pose[self.pose[:, 2] >= _OTHERS_POINT, 1]
        return float(self.pose[:, 2].mean() * np.ptp(y) / self.height) if len(y) else 0.0


class FaceFinder:
    """A person detector that also boxes people of whom only a face shows; see `PersonDetector`.

    It expects pictures of one video, in order: a face that it has found needs less to be found again.

    Args:
        people: finds whole people.
        posenet: finds points.

    Attributes:
        people: as given.
    """

    def __init__(self, people: PersonDetector, posenet: PoseNet) -> None:
        self.people = people
        self._posenet = posenet
        self.name = f"{people.name} + faces"
        self.notice = people.notice
        self._turn: int
        self._known: list[tuple[np.ndarray, int]]
        self._forget()

    @property
    def threshold(self) -> float:
        """Confidence over which the other detector's box is a person."""
        return self.people.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.people.threshold = value

    def detect(self, image: np.ndarray) -> Boxes:
        """Find people in an (H, W, 3) uint8 BGR picture; those found by a face last, their score the face's."""
        boxes = self.people.detect(image)
        height = boxes.xyxy[:, 3] - boxes.xyxy[:, 1]
        seen = [
            _Face(float(height[i]), pose) for i in self._choose(height) for pose in self._look(image, boxes.xyxy[i])
        ]
        self._known = [(nose, age + 1) for nose, age in self._known if age < KNOWN_PICTURES]
        new = []
        for face, owner in _left_over(self._distinct(seen), boxes)[:MAX_CHECKED]:
            score = self._score(image, face)
            if score > 0 and (owner is None or self._is_somebody_else(image, face, owner, boxes)):
                new.append((_box(face, seen), score))
                self._known = [(n, a) for n, a in self._known if not _is_near(face, n)] + [(face.nose.copy(), 0)]
        return _joined(boxes, new, image.shape[:2])

    def look_again(self, image: np.ndarray, people: np.ndarray) -> Boxes:
        """Find those who are thought to be in (N, 4) boxes again, if they are not hidden; see `PersonDetector`."""
        look_again = getattr(self.people, "look_again", None)
        return self.people.detect(image) if look_again is None else look_again(image, people)

    def around(self, people: PersonDetector) -> FaceFinder:
        """The same search round another detector of whole people."""
        other = FaceFinder(people, self._posenet)
        other.notice = self.notice.replace(self.name, other.name)
        return other

    def fork(self) -> FaceFinder:
        """The same detector for another stream: it shares the networks and has seen no picture yet."""
        other = copy.copy(self)
        other.people = self.people.fork()
        other._forget()
        return other

    def close(self) -> None:
        """Free what it holds."""
        self.people.close()

    def _forget(self) -> None:
        self._turn = 0
        self._known = []

    def _choose(self, height: np.ndarray) -> list[int]:
        """Whom to look at now, by the (N,) heights of all."""
        order = [int(i) for i in np.argsort(-height, kind="stable") if height[i] >= MIN_HEIGHT_PX]
        if len(order) <= MAX_LOOKS:
            return order
        always, others = order[: MAX_LOOKS // 2], order[MAX_LOOKS // 2 :]
        count = MAX_LOOKS - len(always)
        self._turn += count
        return always + [others[(self._turn + k) % len(others)] for k in range(count)]

    def _look(self, image: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
        """(N, 17, 3) poses in the upper part of a person's box and beside it, in pixels of the picture."""
        x1, y1, x2, y2 = (float(v) for v in xyxy)
        side = LOOK_OF_HEIGHT * (y2 - y1)
        crop, corner = _square(image, (x1 + x2) / 2, y1 - ABOVE_OF_HEIGHT * (y2 - y1) + side / 2, side)
        poses = self._posenet.poses(crop)
        poses[..., :2] += corner
        return poses

    def _is_known(self, face: _Face) -> bool:
        return any(_is_near(face, nose) for nose, _ in self._known)

    def _distinct(self, seen: list[_Face]) -> list[_Face]:
        """Each that has a face once, those that fill their box best first."""
        kept: list[_Face] = []
        for face in sorted(seen, key=lambda face: -face.rank):
            nose, eye = (KNOWN_NOSE, KNOWN_EYE) if self._is_known(face) else (FIRST_NOSE, FIRST_EYE)
            score = face.pose[:, 2]
            is_face = score[NOSE] >= nose and max(score[LEFT_EYE], score[RIGHT_EYE]) >= eye
            if is_face and not any(_is_same(face, other) for other in kept):
                kept.append(face)
        return kept

    def _is_somebody_else(self, image: np.ndarray, face: _Face, owner: _Face, boxes: Boxes) -> bool:
        """Whether a face is another person's than the owner of its box; not where the owner is a hand or a bag."""
        if self._mean_look(image, owner, KNOWN_LOOKS)[0] < KNOWN_SURE:
            return False
        fits_better = _cost(face.nose, boxes.xyxy).min() < _cost(owner.nose, boxes.xyxy).min()
        return not fits_better or self._score(image, owner) > 0

    def _score(self, image: np.ndarray, face: _Face) -> float:
        """How sure this is a face, from several looks; 0 where it is none."""
        if self._is_known(face):
            sure = self._mean_look(image, face, KNOWN_LOOKS)[0]
            if sure >= KNOWN_SURE:
                return sure
        if self._mean_look(image, face, ENOUGH_LOOKS)[0] < HOPELESS:
            return 0.0
        sure, ear = self._mean_look(image, face, len(LOOKS))
        return sure if sure >= SURE_WITHOUT_EAR or (sure >= SURE_WITH_EAR and ear >= SURE_EAR) else 0.0

    def _mean_look(self, image: np.ndarray, face: _Face, count: int) -> tuple[float, float]:
        """Means over the first looks of face and ear; see `_Face.looks`."""
        for part, off, mirrored in LOOKS[len(face.looks) : count]:
            side = part * face.height
            crop, corner = _square(image, face.nose[0] + off * side, face.nose[1] + off * side, side)
            score = self._posenet.heatmaps(crop[:, ::-1] if mirrored else crop)[0]
            radius = max(FACE_OF_HEIGHT * face.height, FACE_OF_LOOK * side)
            best = _best_near(score, crop.shape[:2], face.nose - corner, radius, mirrored)
            sure = min(best[NOSE], max(best[LEFT_EYE], best[RIGHT_EYE]))
            face.looks.append((sure, max(best[LEFT_EAR], best[RIGHT_EAR])))
        sure, ear = np.mean(face.looks[:count], axis=0)
        return float(sure), float(ear)


def _square(image: np.ndarray, x: float, y: float, side: float) -> tuple[np.ndarray, np.ndarray]:
    """A square of a picture as far as there is one, and its left-top corner."""
    h, w = image.shape[:2]
    side = max(side, STRIDE_PX)
    left, top = min(max(int(x - side / 2), 0), w - 1), min(max(int(y - side / 2), 0), h - 1)
    right, bottom = min(max(int(x + side / 2), left + 1), w), min(max(int(y + side / 2), top + 1), h)
    return image[top:bottom, left:right], np.array([left, top], np.float32)


def _best_near(
    score: np.ndarray, size_hw: tuple[int, int], place: np.ndarray, radius: float, mirrored: bool
) -> np.ndarray:
    """(17,) best scores within a radius of a place in a crop; size, place and radius in pixels of the crop."""
    h, w = size_hw
    rows, columns = np.mgrid[: score.shape[1], : score.shape[2]]
    x, y = columns * (w - 1) / (score.shape[2] - 1), rows * (h - 1) / (score.shape[1] - 1)
    near = np.hypot((w - 1 - x if mirrored else x) - place[0], y - place[1]) <= radius
    return np.where(near, score, 0.0).max((1, 2))


def _is_same(face: _Face, other: _Face) -> bool:
    apart = np.hypot(*(face.pose[: RIGHT_EYE + 1, :2] - other.pose[: RIGHT_EYE + 1, :2]).T)
    height = max(face.height, other.height)
    return bool(apart[NOSE] <= SAME_FACE * height or apart.min() <= SAME_POINT * height)


def _is_near(face: _Face, nose: np.ndarray) -> bool:
    return bool(np.hypot(*(face.nose - nose)) <= KNOWN_NEAR * face.height)


def _left_over(faces: list[_Face], boxes: Boxes) -> list[tuple[_Face, _Face | None]]:
    """Faces without a box, when each box has got the face that fits its head; in the order given.

    Returns:
        Each such face, and the owner of the box that it would have taken; None where it is in no box.
    """
    owners: dict[int, _Face] = {}
    left: list[tuple[_Face, _Face | None]] = []
    for face in faces:
        cost = _cost(face.nose, boxes.xyxy)
        fitting = [int(j) for j in np.argsort(cost) if np.isfinite(cost[j])]
        free = [j for j in fitting if j not in owners]
        if free:
            owners[free[0]] = face
        else:
            left.append((face, owners[fitting[0]] if fitting else None))
    return left


def _cost(nose: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """(N,) how badly a nose fits each box's head: infinite where it is outside."""
    x1, y1, x2, y2 = xyxy.T
    x, y = nose
    height, width = np.maximum(y2 - y1, 1e-6), np.maximum(x2 - x1, 1e-6)
    inside = (x1 <= x) & (x <= x2) & (y1 - 0.02 * height <= y) & (y <= y2)
    return np.where(inside, (y - y1) / height + abs(x - (x1 + x2) / 2) / width / 2, np.inf)


def _box(face: _Face, seen: list[_Face]) -> np.ndarray:
    """(4,) a whole person's box, from the face and, where they are the person's own, the hips."""
    pose, height = face.pose, face.height
    strangers = [other.pose for other in seen if not _is_same(face, other)]

    def apart(a: int, b: int) -> float:
        return float(np.hypot(*(pose[a, :2] - pose[b, :2])))

    def own(k: int) -> bool:
        others = [o[k, :2] for o in strangers if o[k, 2] >= _OTHERS_POINT]
        far = all(np.hypot(*(place - pose[k, :2])) > _OWN_DISTANCE * height for place in others)
        return bool(pose[k, 2] >= _OWN_POINT and far)

    hips = [float(pose[k, 1]) for k in (LEFT_HIP, RIGHT_HIP) if own(k)]
    if hips:
        tall = (float(np.mean(hips)) - float(pose[NOSE, 1])) / _NOSE_TO_HIPS
    else:
        eye = LEFT_EYE if pose[LEFT_EYE, 2] >= pose[RIGHT_EYE, 2] else RIGHT_EYE
        ear = eye + LEFT_EAR - LEFT_EYE
        tall = (apart(NOSE, eye) / _NOSE_TO_EYE + apart(eye, ear) / _EYE_TO_EAR) / 2
    # Whoever is behind someone looks no taller.
    tall = float(np.clip(tall, 0.15 * height, height))
    x, top = float(pose[NOSE : RIGHT_EAR + 1, 0].mean()), float(pose[NOSE, 1]) - _NOSE_BELOW_TOP * tall
    return np.array([x - _WIDTH * tall / 2, top, x + _WIDTH * tall / 2, top + tall])


def _joined(boxes: Boxes, new: list[tuple[np.ndarray, float]], size_hw: tuple[int, int]) -> Boxes:
    """The boxes and those new ones that are not on an old one."""
    xyxy, score = list(boxes.xyxy), list(boxes.score)
    for box, sure in new:
        clipped = Boxes(box[None], np.array([sure])).clip_to(size_hw).xyxy
        if len(clipped) and not (xyxy and (iou(clipped, np.array(xyxy)) >= _SAME_PERSON_IOU).any()):
            xyxy.append(clipped[0])
            score.append(np.float32(sure))
    return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.array(score, np.float32))
