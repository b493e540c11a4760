"""A GPU that is none: pycuda, TensorRT and torch.cuda for tests, an engine file being ONNX that ONNX Runtime runs.

It holds its user to what the real ones demand: work is done on a stream by address, a context is pushed and popped, a
captured graph must not be replayed once its context was changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types

import numpy as np
import pytest
import torch

from engine_build import load_tensorrt


class FakeGpu:
    """What happened: how many contexts are pushed, how often an engine ran, was captured and replayed."""

    def __init__(self) -> None:
        self.pushed = self.runs = self.captures = self.replays = 0
        self.detached = False
        self.recording: list | None = None
        self.capturable = True
        self.memory: dict[int, np.ndarray] = {}


class FakeExecution:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.addresses, self.given, self.changes = engine, {}, None, 0
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_tensor_address(self, name: str, address: int) -> None:
        assert name in self.engine.names
        self.changes += 1
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == self.engine.names[0]
        self.changes += 1
        if max(shape) > self.engine.largest:
            return False
        self.given, self.shapes = tuple(shape), {}
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        axes = self.engine.shape_of(name)
        if self.given is None or -1 not in axes[1:]:
            return axes
        if not self.shapes:
            outputs = self.engine.session.run(None, {self.engine.names[0]: np.zeros(self.given, self.engine.dtype)})
            self.shapes = dict(zip(self.engine.names[1:], (output.shape for output in outputs)))
        return self.shapes[name]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == FakeStream.handle
        gpu = self.engine.gpu
        assert gpu.pushed
        if gpu.recording is not None:
            if not gpu.capturable:
                raise RuntimeError("operation not permitted when stream is capturing")
            gpu.recording.append((self, self.changes))
            return True
        self.compute()
        return True

    def compute(self) -> None:
        assert self.given is not None
        size = int(np.prod(self.given)) * self.engine.dtype.itemsize
        raw = ctypes.string_at(self.addresses[self.engine.names[0]], size)
        x = np.frombuffer(raw, self.engine.dtype).reshape(self.given)
        outputs = self.engine.session.run(None, {self.engine.names[0]: x})
        for name, value in zip(self.engine.names[1:], outputs):
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)
        self.engine.gpu.runs += 1


class FakeEngine:
    largest = 4096

    def __init__(self, gpu: FakeGpu, content: bytes) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        self.gpu = gpu
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.names = [t.name for t in self.tensors]
        self.num_io_tensors = len(self.names)
        self.dtype = np.dtype({"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[self.tensors[0].type])

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == self.names[0] else "out"

    def shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else -1 for n in self.tensors[self.names.index(name)].shape)

    def create_execution_context(self, config: object = None) -> FakeExecution:
        return FakeExecution(self)


class FakeRtxEngine(FakeEngine):
    def create_runtime_config(self) -> types.SimpleNamespace:
        cache = types.SimpleNamespace(serialize=lambda: b"kernels", deserialize=lambda blob: blob == b"kernels")
        return types.SimpleNamespace(create_runtime_cache=lambda: cache, set_runtime_cache=lambda cache: None)


class FakeStream:
    handle = 77

    def __init__(self, flags: int = 0) -> None:
        assert flags in (load_tensorrt.NON_BLOCKING, self.handle)

    def synchronize(self) -> None: ...

    def wait_stream(self, other: FakeStream) -> None: ...


class FakeGraph:
    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu, self.work = gpu, []

    def replay(self) -> None:
        for execution, changes in self.work:
            assert execution.changes == changes, "a graph was replayed after its context had changed"
            execution.compute()
        self.gpu.replays += 1


def install(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """Put the fakes in the real ones' places, for one test."""
    gpu = FakeGpu()

    class Logger:
        Severity = types.SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

    for name, engine in (("tensorrt", FakeEngine), ("tensorrt_rtx", FakeRtxEngine)):
        module = types.ModuleType(name)
        module.ILogger, module.TensorIOMode = Logger, types.SimpleNamespace(INPUT="in", OUTPUT="out")
        module.CudaGraphStrategy = types.SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)
        module.Runtime = lambda logger, engine=engine: types.SimpleNamespace(
            deserialize_cuda_engine=lambda content: None if content == b"foreign" else engine(gpu, content)
        )
        monkeypatch.setitem(sys.modules, name, module)
    driver = _driver(gpu)
    package = types.ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setattr(load_tensorrt, "GPU", "cpu")
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    stream = FakeStream(FakeStream.handle)
    for name, value in {
        "is_available": lambda: True, "init": lambda: None, "current_device": lambda: 0,
        "current_stream": lambda: stream, "ExternalStream": FakeStream, "stream": lambda s: contextlib.nullcontext(),
        "CUDAGraph": lambda: FakeGraph(gpu), "graph": _capturing(gpu), "mem_get_info": lambda: (2**30, 2**33),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return gpu


def _capturing(gpu: FakeGpu):
    @contextlib.contextmanager
    def graph(made, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        gpu.recording = made.work
        try:
            yield
        finally:
            gpu.recording = None
        gpu.captures += 1

    return graph


def _driver(gpu: FakeGpu) -> types.ModuleType:
    driver = types.ModuleType("pycuda.driver")

    class Primary:
        def push(self) -> None:
            gpu.pushed += 1

        def detach(self) -> None:
            assert not gpu.pushed
            gpu.detached = True

    class Allocation:
        def __init__(self, num_bytes: int) -> None:
            self.data = np.zeros(num_bytes, np.uint8)

        def __int__(self) -> int:
            return self.data.ctypes.data

        def free(self) -> None: ...

    def pop() -> None:
        assert gpu.pushed
        gpu.pushed -= 1

    driver.init, driver.Stream, driver.mem_alloc = lambda: None, FakeStream, Allocation
    driver.MemoryError = type("MemoryError", (Exception,), {})
    driver.Device = lambda index: types.SimpleNamespace(retain_primary_context=Primary)
    driver.Context = types.SimpleNamespace(pop=pop)
    driver.pagelocked_empty = np.empty
    driver.memcpy_htod_async = lambda to, host, stream: ctypes.memmove(int(to), host.ctypes.data, host.nbytes)
    driver.memcpy_dtod_async = lambda to, start, num_bytes, stream: ctypes.memmove(to, start, num_bytes)
    return driver
