"""Which key frames train and which validate: by video where every action can stand on both sides, else by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.data.samples import KeyFrameSample

TRIES = 200


@dataclass(frozen=True)
class Split:
    """Two parts of a data set.

    Attributes:
        train, validation: its key frames, each on one side.
        note: one line that says how they were parted, and what that means for the figures.
    """

    train: list[KeyFrameSample]
    validation: list[KeyFrameSample]
    note: str


def split_samples(samples: Sequence[KeyFrameSample], share: float, names: Sequence[str], seed: int = 0) -> Split:
    """Part key frames so that every action is trained on and validated on, where the data allow it.

    Args:
        samples: key frames; columns of their targets are actions.
        share: about how much to validate on, of the videos or of the key frames.
        names: of the actions, for the note.
        seed: of the videos' draw.

    Returns:
        Whole videos on either side, so that no scene is on both, where every action is in two videos or more and some
        draw keeps each on both sides. Otherwise the last part of each video's key frames validates, and for an
        action that is then on one side alone a key frame changes sides. An action with a single key frame trains.
    """
    by_video = _by_video(samples, share, seed)
    if by_video is not None:
        train, validation = _parted(samples, by_video)
        return Split(train, validation, "validation: whole videos, none of which is trained on")
    train, validation = _parted(samples, _by_time(samples, share))
    alone = [name for column, name in enumerate(names) if len(_videos_with(samples, column)) == 1]
    one = len({sample.key[0] for sample in samples}) == 1
    why = "there is one video" if one else (
        f"in one video alone: {_some(alone)}" if alone else "no draw of whole videos has every action on both sides"
    )
    return Split(
        train, validation,
        f"validation: by time, the last key frames of each video, for {why}; scenes are on both sides, so figures are "
        "better than on new video",
    )


def missing_columns(samples: Sequence[KeyFrameSample]) -> list[int]:
    """Actions that nobody does in these key frames."""
    return np.flatnonzero(_counts(samples) == 0).tolist()


def _counts(samples: Sequence[KeyFrameSample]) -> np.ndarray:
    return np.sum([np.nan_to_num(sample.targets).sum(0) for sample in samples], 0)


def _columns(sample: KeyFrameSample) -> set[int]:
    return set(np.flatnonzero(np.nan_to_num(sample.targets).any(0)).tolist())


def _videos_with(samples: Sequence[KeyFrameSample], column: int) -> set[str]:
    return {sample.key[0] for sample in samples if column in _columns(sample)}


def _parted(
    samples: Sequence[KeyFrameSample], chosen: set[int]
) -> tuple[list[KeyFrameSample], list[KeyFrameSample]]:
    return (
        [s for i, s in enumerate(samples) if i not in chosen], [s for i, s in enumerate(samples) if i in chosen],
    )


def _by_video(samples: Sequence[KeyFrameSample], share: float, seed: int) -> set[int] | None:
    """Positions to validate on, whole videos; None where some action would be on one side alone."""
    actions: dict[str, set[int]] = {}
    for sample in samples:
        actions.setdefault(sample.key[0], set()).update(_columns(sample))
    videos = sorted(actions)
    wanted = max(1, round(share * len(videos)))
    every = set().union(*actions.values()) if actions else set()
    if len(videos) < 2:
        return None
    best: set[str] | None = None
    for attempt in range(TRIES):
        order = [videos[i] for i in np.random.default_rng([seed, attempt]).permutation(len(videos))]
        chosen = _drawn(order, actions, every, wanted)
        if chosen is not None and (best is None or abs(len(chosen) - wanted) < abs(len(best) - wanted)):
            best = chosen
        if best is not None and len(best) == wanted:
            break
    return None if best is None else {i for i, sample in enumerate(samples) if sample.key[0] in best}


def _drawn(order: list[str], actions: dict[str, set[int]], every: set[int], wanted: int) -> set[str] | None:
    """Videos in that order: first those that bring an action, then as many as wanted; None where one is lacking."""
    left = {column: sum(column in held for held in actions.values()) for column in every}
    chosen: list[str] = []
    seen: set[int] = set()
    for needed in (True, False):
        for video in order:
            enough = seen >= every if needed else len(chosen) >= wanted
            if enough:
                break
            spared = all(left[column] > 1 for column in actions[video])
            brings = bool(actions[video] - seen)
            if video in chosen or not spared or (needed and not brings) or len(chosen) == len(order) - 1:
                continue
            chosen.append(video)
            seen |= actions[video]
            for column in actions[video]:
                left[column] -= 1
    return set(chosen) if seen >= every and chosen else None


def _by_time(samples: Sequence[KeyFrameSample], share: float) -> set[int]:
    """Positions to validate on: the last of each video, mended so that actions stand on both sides."""
    chosen: set[int] = set()
    in_time = sorted(range(len(samples)), key=lambda i: samples[i].key)
    for video in {sample.key[0] for sample in samples}:
        mine = [i for i in in_time if samples[i].key[0] == video]
        count = min(round(share * len(mine)), len(mine) - 1)
        chosen.update(mine[len(mine) - count :])
    columns = [_columns(sample) for sample in samples]
    for column in sorted(set().union(*columns), key=lambda c: sum(c in held for held in columns)):
        mine = [i for i in in_time if column in columns[i]]
        if len(mine) > 1 and not chosen & set(mine):
            chosen.add(next((i for i in reversed(mine) if _spared(i, chosen, columns)), mine[-1]))
    # Training comes first: an action that is validated on alone cannot be learnt.
    for column in set().union(*columns):
        mine = [i for i in in_time if column in columns[i]]
        if mine and set(mine) <= chosen:
            chosen.discard(mine[0])
    if not chosen and len(samples) > 1:
        chosen.add(in_time[-1])
    return chosen


def _spared(position: int, chosen: set[int], columns: list[set[int]]) -> bool:
    """Whether training keeps every action of a key frame that goes over to validation."""
    rest = [held for i, held in enumerate(columns) if i not in chosen and i != position]
    return all(any(column in held for held in rest) for column in columns[position])


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
