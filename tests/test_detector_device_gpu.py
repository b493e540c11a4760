"""Whether there is a GPU: torch is asked only where the library is that it would reach one by."""

from __future__ import annotations

import sys

import pytest
import torch

from detector import device


@pytest.mark.parametrize("gpu", [True, False])
def test_where_torch_is_loaded_it_is_asked(monkeypatch, gpu):
    monkeypatch.setattr(device, "_has_driver", lambda: pytest.fail("the driver is looked for"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert device.has_gpu() is gpu


def test_without_a_driver_torch_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(device, "_has_driver", lambda: False)
    assert not device.has_gpu()
    assert "torch" not in sys.modules


def test_with_a_driver_torch_has_the_word(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "_has_driver", lambda: True)
    seen = dict(sys.modules)
    del seen["torch"]
    monkeypatch.setattr(device.sys, "modules", seen)
    # `import` finds the module that is loaded all the same; only the look-up above does not.
    assert device.has_gpu()


@pytest.mark.parametrize(
    ("amd", "nvidia", "expected"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_a_driver_of_either_maker_is_one(monkeypatch, amd, nvidia, expected):
    def load(name):
        if not nvidia:
            raise OSError(name)

    monkeypatch.setattr(device.os.path, "exists", lambda path: amd)
    monkeypatch.setattr(device.ctypes, "CDLL", load)
    assert device._has_driver() is expected
