"""The small frames of streams on a GPU: each goes there once, and clips are gathered there.

Two clips of a stream that are a third of a second apart share most of their frames. Knows nothing of cameras: what a
clip's pictures are taken from, and which they are, is in its `origin`.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from detector.device_views import prepare_on_device
from detector.types import Boxes, Clip
from detector.views import View

# Pictures kept of each stream, in clips: neighbours in time take every second frame, odd ones and even ones by turns.
KEPT_CLIPS = 3


@dataclass
class _Kept:
    """Pictures of one stream, and where each lies."""

    pixels: Tensor
    slots: dict[int, int] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)


class DeviceFrames:
    """Pictures that were seen, on a device. For one thread, that of the engine.

    Attributes:
        uploaded: pictures sent to the device so far.
        gathered: pictures given in clips so far.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        # A stream's pictures go when it does.
        self._streams: weakref.WeakKeyDictionary[object, _Kept] = weakref.WeakKeyDictionary()
        self.uploaded = self.gathered = 0

    def clip(self, clip: Clip) -> Tensor:
        """The clip's pictures on the device, Tensor[T, h, w, 3] uint8, a copy; what is not there yet is sent."""
        self.gathered += len(clip.images)
        if clip.origin is None:
            self.uploaded += len(clip.images)
            return self._send(clip.images)
        kept = self._kept_of(clip)
        first_places: dict[int, int] = {}
        for place, serial in enumerate(clip.origin.serials):
            first_places.setdefault(serial, place)
        missing = sorted(set(first_places) - kept.slots.keys())
        self._make_room(kept, set(first_places), len(missing))
        if missing:
            slots = [kept.free.pop() for _ in missing]
            images = clip.images[[first_places[serial] for serial in missing]]
            kept.pixels[torch.tensor(slots, device=self._device)] = self._send(images)
            kept.slots.update(zip(missing, slots))
            self.uploaded += len(missing)
        places = [kept.slots[serial] for serial in clip.origin.serials]
        return kept.pixels[torch.tensor(places, device=self._device)]

    def prepare(self, view: View, clip: Clip, boxes: Boxes) -> tuple[Tensor, np.ndarray]:
        """What `view.prepare` gives, the frames on the device; see `detector.device_views`."""
        return prepare_on_device(view, self.clip(clip), boxes, clip.key_frame.size_hw)

    def close(self) -> None:
        """Free the pictures. May be called twice."""
        self._streams.clear()

    def _kept_of(self, clip: Clip) -> _Kept:
        assert clip.origin is not None
        kept = self._streams.get(clip.origin.memory)
        if kept is None or kept.pixels.shape[1:] != clip.images.shape[1:] or len(kept.pixels) < len(clip.images):
            capacity = KEPT_CLIPS * len(clip.images)
            pixels = torch.empty((capacity, *clip.images.shape[1:]), dtype=torch.uint8, device=self._device)
            kept = self._streams[clip.origin.memory] = _Kept(pixels, free=list(range(capacity)))
        return kept

    @staticmethod
    def _make_room(kept: _Kept, wanted: set[int], count: int) -> None:
        """Forget the oldest pictures that are not wanted now."""
        for serial in sorted(kept.slots):
            if len(kept.free) >= count:
                return
            if serial not in wanted:
                kept.free.append(kept.slots.pop(serial))

    def _send(self, images: np.ndarray) -> Tensor:
        given = torch.from_numpy(np.ascontiguousarray(images))
        if self._device.type == "cuda":
            # Pinned memory is kept by torch until the copy is done.
            return given.pin_memory().to(self._device, non_blocking=True)
        return given.to(self._device)
