"""Hostile and unusual weights files: each loads or is one line, in bounded memory, and nothing in them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.slowfast import SlowFastConfig, create_network, load_network, save_state
from detector.slowfast.containers import OWN_FORMAT, read_weights_file
from detector.weights.choose import load_action_model, resolve_action_model

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = SlowFastConfig(width=8, beta_inv=4, blocks=(1, 1, 1, 1), num_frames=16)
STEM = "s1.pathway0_stem.conv.weight"


@pytest.fixture(scope="module")
def network():
    return create_network(TINY, seed=4)


def torch_bytes(content, **more) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **more)
    return buffer.getvalue()


def rezipped(data: bytes, change, compression=zipfile.ZIP_STORED) -> bytes:
    """A torch file's zip with members changed: `change(name, content)`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def overlapping_members() -> bytes:
    """A zip whose list names one megabyte a thousand times."""
    good = torch_bytes({"model_state": {STEM: torch.zeros(1 << 18)}})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        info = max(archive.infolist(), key=lambda each: each.file_size)
    record = struct.pack(
        "<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 33, info.CRC, info.file_size, info.file_size,
        len(info.filename), 0, 0, 0, 0, 0, info.header_offset,
    ) + info.filename.encode()
    end = good.rfind(b"PK\5\6")
    start = good.find(b"PK\1\2")
    directory = good[start : good.rfind(b"PK\6\6") if b"PK\6\6" in good else end] + record * 1000
    entries = good.count(b"PK\1\2") + 1000
    return good[:start] + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(directory),
                                                  start, 0)


def safetensors_bytes(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def pickled_array(shape: tuple[int, ...], raw: bytes) -> bytes:
    """A Caffe2 pickle of one array that says another shape than its bytes have."""
    array = np.zeros(len(raw) // 4, np.float32)
    text = pickle.dumps({"blobs": {"conv1_w": array}}, protocol=2)
    old, new = pickle.dumps((len(raw) // 4,), protocol=2)[2:-1], pickle.dumps(shape, protocol=2)[2:-1]
    assert old.split(b"\x85")[0] in text
    return text.replace(old.split(b"\x85")[0] + b"\x85", new.split(b"q\x00")[0], 1)


def own_file(record: str) -> bytes:
    return torch_bytes({"format": OWN_FORMAT, "format_version": 1, "record": record, "tensors": {"a": torch.zeros(1)}})


def shrunk_storage() -> bytes:
    big = torch_bytes({"model_state": {STEM: torch.zeros(1 << 20)}})
    return rezipped(big, lambda name, data: data[:16] if "/data/" in name else data)


def claimed_legacy() -> bytes:
    """An older torch file whose storage says that it has 2^50 numbers."""
    data = torch_bytes({STEM: torch.zeros(7)}, _use_new_zipfile_serialization=False)
    at = data.rfind(struct.pack("<q", 7))
    return data[:at] + struct.pack("<q", 1 << 50) + data[at + 8 :]


def tuples_as_key() -> bytes:
    return b"\x80\x02}" + b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"K\x01s."


def colliding_keys() -> bytes:
    step = (1 << 61) - 1
    items = b"".join(b"\x8a" + struct.pack("<B", 12) + (i * step).to_bytes(12, "little") + b"N" for i in range(60000))
    return b"\x80\x02}(" + items + b"u."


def many_views() -> bytes:
    base = torch.zeros(1 << 20)
    return torch_bytes({"model_state": {f"t{i}": base[i:] for i in range(500)}})


class Called:
    """Unpickles to a call of `function` with `arguments`."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


HUGE = 1 << 40
# name: (bytes, words of the line)
HOSTILE = {
    "compressed members": lambda: (rezipped(
        torch_bytes({"model_state": {STEM: torch.zeros(1 << 22)}}), lambda name, data: data, zipfile.ZIP_DEFLATED,
    ), "is compressed"),
    "a storage without end": lambda: (zip_of({
        "archive/data.pkl": pickle.dumps({"model_state": {}}, 2), "archive/version": b"3\n",
    }), "no tensors"),
    "stride 0": lambda: (torch_bytes(
        {"model_state": {STEM: torch.zeros(1, dtype=torch.float16).expand(10**11)}}), "more numbers than"),
    "stride 0, older": lambda: (torch_bytes(
        {STEM: torch.zeros(1).expand(3 * 10**9)}, _use_new_zipfile_serialization=False), "more numbers than"),
    "storage smaller than its tensor": lambda: (shrunk_storage(), "has not the bytes|more numbers than|damaged"),
    "older storage smaller than it says": lambda: (claimed_legacy(), "damaged"),
    "many views of one storage": lambda: (many_views(), "more numbers than"),
    "overlapping members": lambda: (overlapping_members(), "damaged"),
    "members without end": lambda: (zip_of({f"{i:060x}": b"" for i in range(22000)}), "too many members|damaged"),
    "memo of 2^31": lambda: (b"\x80\x02}r\xff\xff\xff\x7f.", "no tensors"),
    "memo in words": lambda: (b"}p" + b"9" * 40 + b"\n.", "no tensors"),
    "bytes of 2^40": lambda: (b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b".", "damaged"),
    "bytearray of 2^40": lambda: (b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b".", "damaged"),
    "text of 2^40": lambda: (b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b".", "damaged"),
    "frame of 2^40": lambda: (b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"}.", "no tensors"),
    "a number of a megabyte": lambda: (b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".",
                                       "damaged"),
    "a number of a million digits": lambda: (b"(L" + b"9" * 10**6 + b"L\n.", "damaged"),
    "lists in lists": lambda: (b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + b".", "holds list"),
    "marks without end": lambda: (b"\x80\x02" + b"(" * 10**6, "damaged"),
    "sets without end": lambda: (b"\x80\x04" + b"\x8f" * (4 << 20) + b".", "damaged"),
    "dicts without end": lambda: (b"\x80\x04(" + b"}" * (8 << 20) + b"l.", "damaged"),
    "tuples of tuples as a key": lambda: (tuples_as_key(), "damaged"),
    "keys that collide": lambda: (colliding_keys(), "damaged"),
    "an array of 2^48 numbers": lambda: (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(\x8a\x06" + b"\0" * 5 + b"\x01tU\x01b\x87R.",
        "expected a dict|damaged"),
    "an array larger than its bytes": lambda: (pickled_array((1 << 40, 4), b"\0" * 400), "more numbers than"),
    "text that grows fourfold": lambda: (
        b"\x80\x04}X\x01\0\0\0aX" + struct.pack("<I", 60 << 20) + b"x" * ((60 << 20) - 4) + "\U0001f600".encode()
        + b"s.", "no tensors"),
    "an encoding that doubles": lambda: (
        b"\x80\x02" + b"c_codecs\nencode\n" * 30 + b"X\x02\0\0\0ab" + b"X\x03\0\0\0hex\x86R" * 30 + b".",
        "can run code"),
    "a record nested deeply": lambda: (own_file('{"network":' + "[" * 200_000 + "]" * 200_000 + "}"),
                                       "record is damaged"),
    "a record of huge numbers": lambda: (own_file('{"network": {"num_frames": ' + "9" * 5000 + "}}"),
                                         "record is damaged"),
    "a record that is a list": lambda: (own_file("[1]"), "record is damaged"),
    "safetensors with a header of 2^60": lambda: (safetensors_bytes(b"{}" + b" " * 600, length=1 << 60), "not a w"),
    "safetensors with a header of 60 MB": lambda: (safetensors_bytes(
        b'{"a":{"dtype":"F32","shape":[' + b"0," * (30 << 20) + b'0],"data_offsets":[0,0]}}'), "a header of"),
    "safetensors nested deeply": lambda: (safetensors_bytes(b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}"), "damaged"),
    "safetensors beyond its file": lambda: (safetensors_bytes(
        {STEM: {"dtype": "F32", "shape": [1 << 30, 1 << 20], "data_offsets": [0, 1 << 52]}}), "damaged"),
    "safetensors that overlap": lambda: (safetensors_bytes(
        {f"t{i}": {"dtype": "F32", "shape": [1 << 18], "data_offsets": [0, 1 << 20]} for i in range(900)},
        b"\0" * (1 << 20)), "damaged"),
}

def answer_of_a_child(path: Path) -> str:
    """What choosing and loading a file says, in a fork that may take 200 MB beyond the file and four CPU seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            most = held + (200 << 20) + path.stat().st_size
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 4,) * 2)
            load_action_model(*resolve_action_model(str(path)))
            answer = "loaded"
        except UserError as error:
            answer = str(error)
        except BaseException as error:
            answer = f"CRASH {error!r}"[:1000]
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return answer if status == 0 else f"died of {status}"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line_and_bounded_memory(tmp_path, name):
    data, words = HOSTILE[name]()
    path = tmp_path / "w.pyth"
    path.write_bytes(data)
    answer = answer_of_a_child(path)
    assert str(path) in answer, answer
    assert "\n" not in answer
    assert any(word in answer for word in words.split("|")), answer


@pytest.mark.parametrize("function", [os.system, eval, __import__, getattr, torch.load, np.load, pickle.loads])
@pytest.mark.parametrize("container", ["zip", "legacy", "caffe2", "protocol 0", "protocol 4", "own"])
def test_nothing_that_a_file_names_is_called(tmp_path, container, function, monkeypatch):
    marker = tmp_path / "ran"
    call = Called(function, f"open({str(marker)!r}, 'w')")
    data = {
        "zip": lambda: torch_bytes({"model_state": {STEM: torch.zeros(1)}, "x": call}),
        "legacy": lambda: torch_bytes({"x": call, STEM: torch.zeros(1)}, _use_new_zipfile_serialization=False),
        "caffe2": lambda: pickle.dumps({"blobs": {"conv1_w": call}}, protocol=2),
        "protocol 0": lambda: pickle.dumps(call, protocol=0),
        "protocol 4": lambda: pickle.dumps(OrderedDict(a=call), protocol=4),
        "own": lambda: torch_bytes({"format": OWN_FORMAT, "record": call, "tensors": {}}),
    }[container]()
    path = tmp_path / "w"
    path.write_bytes(data)
    with pytest.raises(UserError, match="can run code") as caught:
        read_weights_file(path)
    assert function.__name__ in str(caught.value)
    assert not marker.exists()


def state_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "net.", "module.", "model.net.",
                                    "student.trunk.", "_forward_module._orig_mod.module."])
@pytest.mark.parametrize("naming", ["pyslowfast", "pytorchvideo", "caffe2"])
def test_whatever_held_the_network_is_taken_off_its_names(tmp_path, network, prefix, naming):
    save_state(network, tmp_path / "plain", naming)
    state = read_weights_file(tmp_path / "plain").tensors
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in state.items()}}, tmp_path / "w")
    again = load_network(tmp_path / "w").state_dict()
    assert all(torch.equal(t, again[n]) for n, t in network.state_dict().items() if "num_batches" not in n)


def test_parts_that_were_compiled_alone_lose_their_prefix(tmp_path, network):
    state = {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in state_of(network).items()}
    torch.save({"model_state": state}, tmp_path / "w")
    assert torch.equal(load_network(tmp_path / "w").get_parameter(STEM), network.get_parameter(STEM))


def test_two_networks_in_one_file_are_not_mixed(tmp_path, network):
    state = state_of(network)
    both = {f"{side}.{name}": tensor for side in ("student", "teacher") for name, tensor in state.items()}
    torch.save({"state_dict": both}, tmp_path / "w")
    with pytest.raises(UserError, match=r"teacher\.\S+.* left over"):
        load_network(tmp_path / "w")


def extras():
    """What checkpoints carry beside their tensors."""
    import argparse
    from collections import defaultdict
    from pathlib import PurePosixPath

    return {
        "numpy scalars": {"lr": np.float64(3.0), "step": np.int64(7), "flag": np.bool_(True), "half": np.float16(1)},
        "a namespace": argparse.Namespace(lr=1, where=PurePosixPath("a/b")),
        "an optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "types": {"dtype": torch.float32, "device": torch.device("cpu"), "size": torch.Size([1, 2])},
        "collections": {"a": {1, 2}, "b": defaultdict(int), "c": (1, (2, 3)), "d": frozenset({1}), "e": b"bytes"},
        "tuples as keys": {("a", 1): 2},
    }


@pytest.mark.parametrize("name", extras())
@pytest.mark.parametrize("new", [True, False])
def test_harmless_company_of_the_tensors_is_passed_over(tmp_path, network, name, new):
    content = {"state_dict": state_of(network), "more": extras()[name]}
    torch.save(content, tmp_path / "w", _use_new_zipfile_serialization=new)
    assert torch.equal(load_network(tmp_path / "w").get_parameter(STEM), network.get_parameter(STEM))


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("case", ["parameters", "slices", "channels last", "expanded", "doubles", "bf16"])
def test_tensors_of_every_layout_and_type_come_back(tmp_path, case, new):
    base = torch.randn(4, 3, 2, 6, 5)
    tensor = {
        "parameters": torch.nn.Parameter(base), "slices": base[1:3, :, :, 1:4], "doubles": base.double(),
        "channels last": base.contiguous(memory_format=torch.channels_last_3d), "bf16": base.bfloat16(),
        "expanded": base[:1].expand(4, -1, -1, -1, -1),
    }[case]
    torch.save({"a.weight": tensor, "b.weight": base[0]}, tmp_path / "w", _use_new_zipfile_serialization=new)
    found = read_weights_file(tmp_path / "w").tensors
    assert torch.equal(found["a.weight"], tensor.detach().float())
    assert torch.equal(found["b.weight"], base[0])
    assert all(t.dtype == torch.float32 and t.is_contiguous() for t in found.values())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [">f4", "<f4", "f8", "f2", "i4", "u1", "?"])
def test_numpy_arrays_of_every_protocol_and_type_come_back(tmp_path, protocol, kind):
    array = (np.arange(30) % 2).reshape(5, 6).astype(kind)
    content = {"a": array, "b": np.asfortranarray(array), "c": array[1:, ::2], "d": array[0, :0]}
    (tmp_path / "w").write_bytes(pickle.dumps({"blobs": content}, protocol=protocol))
    found = read_weights_file(tmp_path / "w").tensors
    for name, value in content.items():
        assert np.array_equal(found[name].numpy(), value.astype(np.float32)), name


def test_long_arrays_of_python_3s_older_protocols_come_back(tmp_path):
    array = np.random.default_rng(0).standard_normal((60, 700)).astype(np.float32)
    for protocol in range(6):
        (tmp_path / "w").write_bytes(pickle.dumps({"blobs": {"a": array}}, protocol=protocol))
        assert np.array_equal(read_weights_file(tmp_path / "w").tensors["a"].numpy(), array), protocol


def test_safetensors_load(tmp_path, network):
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = state_of(network)
    for name, change in {"plain": lambda t: t, "half": lambda t: t.half() if t.is_floating_point() else t,
                         "bf16": lambda t: t.bfloat16() if t.is_floating_point() else t}.items():
        save_file({f"net.{n}": change(t) for n, t in state.items()}, tmp_path / "w.safetensors", {"format": "pt"})
        again = load_network(tmp_path / "w.safetensors").state_dict()
        for tensor_name, tensor in state.items():
            if "num_batches" not in tensor_name:
                assert torch.equal(again[tensor_name], change(tensor).float()), (name, tensor_name)


def test_safetensors_weights_do_not_hang_on_their_file(tmp_path, network):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(state_of(network), tmp_path / "w.safetensors")
    again = load_network(tmp_path / "w.safetensors")
    with (tmp_path / "w.safetensors").open("r+b") as file:
        file.truncate(10)
    assert torch.equal(again.get_parameter(STEM), network.get_parameter(STEM))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("container", ["zip", "legacy", "caffe2", "safetensors", "half"])
def test_weights_that_are_no_numbers_are_named(tmp_path, network, container, value):
    state = state_of(network)
    state[STEM].view(-1)[3] = value
    path = tmp_path / "w"
    if container == "caffe2":
        path.write_bytes(pickle.dumps({"blobs": {n: t.numpy() for n, t in state.items()}}, 2))
    elif container == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    elif container == "half":
        torch.save({"model_state": {n: t.half() if t.is_floating_point() else t for n, t in state.items()}}, path)
    else:
        torch.save({"model_state": state}, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(UserError, match=rf"{STEM} has 1 of \d+ numbers that are NaN or infinite"):
        load_network(path)


def test_large_but_finite_numbers_are_not_mistaken_for_infinite(tmp_path):
    torch.save({"a": torch.full((4,), 3e38)}, tmp_path / "w")
    assert read_weights_file(tmp_path / "w").tensors["a"].isfinite().all()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_files_of_other_sorts_are_named_as_what_they_are(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "whole.pt")
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "script.pt": "TorchScript", "whole.pt": "whole pickled network", "w.npz": "npz", "pipe": "neither a file",
        ".": "directory",
    }.items():
        with pytest.raises(UserError, match=words):
            read_weights_file(tmp_path / name)


@pytest.mark.parametrize(("optimizer", "words"), [(True, "state of a training run"), (False, "best weights")])
def test_a_trainings_own_files_send_to_the_model_file(tmp_path, network, optimizer, words):
    more = {"optimizer": {}} if optimizer else {}
    torch.save({"format": 1, "network": state_of(network), **more}, tmp_path / "best.pt")
    with pytest.raises(UserError, match=rf"{words}.*use model\.pt beside it"):
        load_network(tmp_path / "best.pt")


@pytest.mark.parametrize(("numbers", "words"), [
    ({"num_frames": 10**8}, "num_frames: got 100000000, expected a whole number from 1 to 1024"),
    ({"depth": 10**9}, "depth: got"), ({"width": "64"}, "width: got '64'"), ({"width": True}, "width"),
    ({"blocks": [10**6] * 4}, "blocks"), ({"blocks": [3, 4, 6]}, "blocks"), ({"dropout": float("nan")}, "dropout"),
    ({"alpha": [4]}, "alpha"), ({"pathways": 3}, "pathways"), ({"std": 0}, "std"), ({"num_classes": -1}, "num_classes"),
    ({"nonlocal_blocks": {"a": 1}}, "nonlocal_blocks"), ({"nonlocal_pool": [2, 2]}, "nonlocal_pool"),
])
def test_stored_numbers_are_held_against_what_a_network_can_be(tmp_path, network, numbers, words):
    torch.save({"model_state": state_of(network), "config": {"width": 8, **numbers}}, tmp_path / "w")
    with pytest.raises(UserError, match="configuration does not hold") as caught:
        load_network(tmp_path / "w")
    assert words in str(caught.value)
