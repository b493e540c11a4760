"""Drawing round cones and triangles with a depth buffer: the inner loops of the renderer, compiled by numba.

Screen space: x right, y down in pixels, z away from the camera in metres. numba is a development dependency: the
product never renders.
"""

from __future__ import annotations

import math

import numpy as np

from detector.errors import UserError

RENDERER_MISSING = "rendering needs numba, pybullet and scipy; run: pip install 'slowfast-live[render]'"

try:
    from numba import njit
except ImportError:

    def njit(**_):  # type: ignore[no-redef]
        """Stand in for numba where it is missing: drawing says how to get it; what draws nothing still works."""

        def refuse(*_):
            raise UserError(RENDERER_MISSING)

        return lambda _: refuse


@njit(cache=True, fastmath=True)
def _pattern(kind: int, along: float, around: float, frequency: float) -> float:
    """Share, 0 to 1, of the second colour at a place of a cone (metres along it, radians round it)."""
    if kind == 1:
        return 1.0 if math.sin(around * 6.0) > 0.2 else 0.0
    if kind == 2:
        return 1.0 if math.sin(along * frequency * 6.283) > 0.1 else 0.0
    if kind == 3:
        first, second = math.sin(along * frequency * 6.283), math.sin(around * 5.0)
        return (0.5 if first > 0.2 else 0.0) + (0.5 if second > 0.2 else 0.0)
    if kind == 4:
        value = math.sin(along * frequency * 5.1 + around * 1.7) + math.sin(around * 4.3 - along * frequency * 3.3)
        return 1.0 if value > 0.6 else 0.0
    return 0.0


@njit(cache=True, fastmath=True)
def draw_cones(image, depth, ends, radii, depth_radii, colours, colours2, kinds, frequency, light, ambient, folds):
    """Draw K round cones (spheres swept along a segment) into a picture.

    Args:
        image: (H, W, 3) float32, changed.
        depth: (H, W) float32 metres, changed; nearer wins.
        ends: (K, 2, 3) x, y in pixels and depth in metres of both ends.
        radii: (K, 2) pixels. depth_radii: (K, 2) the same in metres.
        colours, colours2: (K, 3) float32. kinds: (K,) patterns. frequency: (K,) repeats a metre.
        light: (3,) unit vector towards the light, camera axes. ambient: share of light from everywhere.
        folds: strength of the wrinkles.
    """
    h, w = depth.shape
    for k in range(ends.shape[0]):
        x0, y0, z0 = ends[k, 0, 0], ends[k, 0, 1], ends[k, 0, 2]
        x1, y1, z1 = ends[k, 1, 0], ends[k, 1, 1], ends[k, 1, 2]
        r0, r1 = radii[k, 0], radii[k, 1]
        if z0 < 0.2 or z1 < 0.2:
            continue
        left = max(math.floor(min(x0 - r0, x1 - r1)), 0)
        right = min(math.ceil(max(x0 + r0, x1 + r1)) + 1, w)
        top = max(math.floor(min(y0 - r0, y1 - r1)), 0)
        bottom = min(math.ceil(max(y0 + r0, y1 + r1)) + 1, h)
        dx, dy = x1 - x0, y1 - y0
        length2 = dx * dx + dy * dy
        metres = math.sqrt(length2) * depth_radii[k, 0] / max(r0, 1e-6)
        # Where the cone's radius changes the nearest sphere lies a little off the foot of the perpendicular.
        slope = (r1 - r0) / max(math.sqrt(length2), 1.0)
        for row in range(top, bottom):
            for column in range(left, right):
                px, py = column + 0.5 - x0, row + 0.5 - y0
                t = 0.0
                if length2 > 1e-9:
                    t = (px * dx + py * dy) / length2
                    across = abs(px * dy - py * dx) / math.sqrt(length2)
                    t += slope * across / math.sqrt(length2)
                    t = min(max(t, 0.0), 1.0)
                r = r0 + t * (r1 - r0)
                ox, oy = px - t * dx, py - t * dy
                inside = r * r - ox * ox - oy * oy
                if inside <= 0:
                    continue
                nz = math.sqrt(inside) / r
                z = z0 + t * (z1 - z0) - nz * (depth_radii[k, 0] + t * (depth_radii[k, 1] - depth_radii[k, 0]))
                if z >= depth[row, column]:
                    continue
                depth[row, column] = z
                nx, ny = ox / r, oy / r
                side = (px * dy - py * dx) / max(math.sqrt(length2), 1e-6) / r
                around = math.asin(min(max(side, -1.0), 1.0))
                along = t * metres
                share = _pattern(kinds[k], along, around, frequency[k])
                shade = nx * light[0] + ny * light[1] - nz * light[2]
                shade += folds * math.sin(along * 37.0 + around * 3.0 + k) * math.sin(around * 7.0 + along * 23.0)
                shade = ambient + (1.0 - ambient) * max(shade, 0.0) ** 0.8
                for c in range(3):
                    base = colours[k, c] + share * (colours2[k, c] - colours[k, c])
                    image[row, column, c] = base * shade
    return image


@njit(cache=True, fastmath=True)
def draw_triangles(image, depth, corners, colours, grain):
    """Draw M flat triangles: corners (M, 3, 3) x, y pixels and depth; colours (M, 3); grain is texture strength."""
    h, w = depth.shape
    for m in range(corners.shape[0]):
        x0, y0, z0 = corners[m, 0, 0], corners[m, 0, 1], corners[m, 0, 2]
        x1, y1, z1 = corners[m, 1, 0], corners[m, 1, 1], corners[m, 1, 2]
        x2, y2, z2 = corners[m, 2, 0], corners[m, 2, 1], corners[m, 2, 2]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-6 or min(z0, min(z1, z2)) < 0.2:
            continue
        left = max(math.floor(min(x0, min(x1, x2))), 0)
        right = min(math.ceil(max(x0, max(x1, x2))) + 1, w)
        top = max(math.floor(min(y0, min(y1, y2))), 0)
        bottom = min(math.ceil(max(y0, max(y1, y2))) + 1, h)
        for row in range(top, bottom):
            for column in range(left, right):
                px, py = column + 0.5, row + 0.5
                a = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) / area
                b = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) / area
                c = 1.0 - a - b
                if a < 0 or b < 0 or c < 0:
                    continue
                z = 1.0 / (a / z0 + b / z1 + c / z2)
                if z >= depth[row, column]:
                    continue
                depth[row, column] = z
                wave = math.sin(a * 31.0 + m) * math.sin(b * 43.0)
                for channel in range(3):
                    image[row, column, channel] = colours[m, channel] * (1.0 + grain * wave)
    return image


@njit(cache=True, fastmath=True)
def draw_shadows(mask, ends, radii, squash):
    """Set a mask (H, W) float32 to 1 under K capsules (K, 2, 2) px of (K,) radii, flattened by `squash` in y."""
    h, w = mask.shape
    for k in range(ends.shape[0]):
        x0, y0, x1, y1 = ends[k, 0, 0], ends[k, 0, 1], ends[k, 1, 0], ends[k, 1, 1]
        r = radii[k]
        left = max(int(min(x0, x1) - r), 0)
        right = min(int(max(x0, x1) + r) + 2, w)
        top = max(int(min(y0, y1) - r * squash), 0)
        bottom = min(int(max(y0, y1) + r * squash) + 2, h)
        dx, dy = x1 - x0, (y1 - y0) / squash
        length2 = max(dx * dx + dy * dy, 1e-9)
        for row in range(top, bottom):
            for column in range(left, right):
                px, py = column + 0.5 - x0, (row + 0.5 - y0) / squash
                t = min(max((px * dx + py * dy) / length2, 0.0), 1.0)
                ox, oy = px - t * dx, py - t * dy
                if ox * ox + oy * oy < r * r:
                    mask[row, column] = np.float32(1.0)
    return mask
