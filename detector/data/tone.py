"""HDR to SDR: what a bright picture (PQ or HLG, BT.2020) looks like on an ordinary screen (BT.709).

The colours of a picture pass through a cube that is worked out here once; FFmpeg's `lut3d` applies it. Nothing in
this file knows files or streams.
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from typing import Any

import numpy as np

# FFmpeg's numbers of the transfer functions that are HDR.
PQ, HLG = 16, 18
# BT.2408: HDR shows what SDR calls white at 203 cd/m2; HLG is made for a screen of 1000 cd/m2.
WHITE_NITS, HLG_PEAK_NITS = 203.0, 1000.0
# Up to here (1 is white) light passes as it is, brighter light is compressed into what is left.
KNEE = 0.75
# BT.1886: what a screen makes of a BT.709 signal.
SDR_GAMMA = 2.4
CUBE_SIZE = 33
# BT.2087: linear light of BT.2020 to BT.709.
TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
# FFmpeg's numbers of colour matrices, by the names that its scaler gives them.
MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}


def light_of(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Linear light of an HDR signal.

    Args:
        signal: (..., 3) 0 to 1, red, green, blue.
        transfer: `PQ` (SMPTE ST 2084) or `HLG` (BT.2100, with its OOTF for 1000 cd/m2).

    Returns:
        (..., 3) in units of SDR's white.
    """
    signal = np.clip(np.asarray(signal, float), 0, 1)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        return 10_000 / WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return HLG_PEAK_NITS / WHITE_NITS * scene * luminance[..., None] ** 0.2


def sdr_signal(signal: np.ndarray, transfer: int) -> np.ndarray:
    """The BT.709 signal (..., 3), 0 to 1, that shows what an HDR signal (..., 3) shows, highlights compressed.

    The brightest of the three colours decides how much is compressed, so hues stay.
    """
    light = np.maximum(light_of(signal, transfer) @ TO_BT709.T, 0)
    brightest = light.max(-1, keepdims=True)
    over = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
    compressed = np.where(over > 0, KNEE + (1 - KNEE) * over / (1 + over), brightest)
    return np.clip(light * compressed / np.maximum(brightest, 1e-9), 0, 1) ** (1 / SDR_GAMMA)


@lru_cache(maxsize=4)
def cube_text(transfer: int, size: int = CUBE_SIZE) -> str:
    """`sdr_signal` as a .cube file: `size`³ lines, red fastest."""
    steps = np.linspace(0, 1, size)
    b, g, r = np.meshgrid(steps, steps, steps, indexing="ij")
    colours = sdr_signal(np.stack([r, g, b], -1).reshape(-1, 3), transfer)
    # Looked up, since formatting a million numbers takes seconds.
    words = np.array([f"{code / 9999:.4f}" for code in range(10_000)], object)[np.rint(colours * 9999).astype(int)]
    return f"LUT_3D_SIZE {size}\n" + "\n".join(map(" ".join, words.tolist())) + "\n"


class ToneMap:
    """FFmpeg's filters that apply the cube; made for frames of one size and format."""

    def __init__(self, frame: Any, transfer: int) -> None:
        """
        Args:
            frame: an `av.VideoFrame` as all others will be.
            transfer: `PQ` or `HLG`.
        """
        import av.filter

        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        handle, path = tempfile.mkstemp(suffix=".cube")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(cube_text(transfer))
            matrix = MATRICES.get(int(frame.colorspace), "bt2020")
            graph.link_nodes(
                source, graph.add("scale", in_color_matrix=matrix), graph.add("format", pix_fmts="gbrp12le"),
                graph.add("lut3d", file=path, interp="tetrahedral"), graph.add("format", pix_fmts="gbrp"),
                graph.add("buffersink"),
            )
            graph.configure()
        finally:
            os.unlink(path)
        self._graph = graph

    def apply(self, frame: Any) -> Any:
        """The frame in 8-bit RGB planes, BT.709."""
        self._graph.vpush(frame)
        return self._graph.vpull()
