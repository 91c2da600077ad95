"""Light for a rasterised surface: key, fill and sky light, crevices, haze, thin silhouettes."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

Color = tuple[float, float, float]
KEY_LIGHT, KEY_COLOR = (-0.50, -0.62, -0.61), (1.04, 1.00, 0.94)
FILL_LIGHT, FILL_COLOR = (0.80, 0.15, -0.58), (0.90, 0.97, 1.06)
SKY_COLOR = (0.93, 0.98, 1.06)
GAMMA = 2.2


def shade(
    depth: Float[np.ndarray, "s s"],
    normal: Float[np.ndarray, "s s 3"],
    tint: Float[np.ndarray, "s s"],
    voxel: float,
    color: Color,
    accent: Color,
) -> UInt8[np.ndarray, "h h 4"]:
    """Light a surface seen from the near side and halve the picture, which smooths its edges.

    **Arguments:** `depth`: pixels, `inf` where there is nothing. `normal`: outward, pointing to
    smaller depth. `tint`: 0 for `color` to 1 for `accent` (sRGB, [0, 1]). `voxel`: pixels to a
    voxel, the length of reference of crevices and rims.

    **Returns:** RGBA, half the side.
    """
    covered = np.isfinite(depth)
    if not covered.any():
        return np.zeros((len(depth) // 2, len(depth) // 2, 4), np.uint8)
    near, far = float(depth[covered].min()), float(depth[covered].max())
    filled = np.where(covered, depth, np.float32(far))
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    crevice = openness(filled, covered, voxel)
    sky = (0.34 + 0.16 * (0.5 - 0.5 * normal[..., 1])) * crevice
    key = 0.86 * _facing(normal, KEY_LIGHT) * (0.3 + 0.7 * crevice)
    fill = 0.14 * _facing(normal, FILL_LIGHT)
    halfway = _unit(_unit(KEY_LIGHT) + np.array([0, 0, -1]))
    gloss = 0.06 * _facing(normal, halfway) ** 40 * crevice

    dark, bright = np.asarray(color) ** GAMMA, np.asarray(accent) ** GAMMA
    base = dark + np.clip(tint, 0, 1)[..., None] * (bright - dark)
    light = sky[..., None] * SKY_COLOR + key[..., None] * KEY_COLOR + fill[..., None] * FILL_COLOR
    haze = (filled - near) / max(far - near, 8 * voxel)
    linear = (base * light + gloss[..., None]) * (1 - 0.25 * haze[..., None])
    linear = linear * (1 - 0.5 * _silhouette(filled, covered, voxel)[..., None])

    alpha = _halve(covered[..., None].astype(np.float32))
    linear = _halve(linear * covered[..., None]) / np.maximum(alpha, 1e-6)
    srgb = np.clip(linear, 0, 1) ** (1 / GAMMA)
    return np.rint(np.concatenate([srgb, alpha], axis=-1) * 255).astype(np.uint8)


def openness(
    depth: Float[np.ndarray, "s s"], covered: Bool[np.ndarray, "s s"], voxel: float
) -> Float[np.ndarray, "s s"]:
    """Tell how much sky each point sees, [0, 1]: less where it lies deeper than its surroundings.

    Three widths, in voxels; a stand-in for ambient occlusion. Where no surface is near, the sky
    is open.
    """
    share_of = covered.astype(np.float32)
    surface = np.where(covered, depth, 0).astype(np.float32)
    seen = np.ones_like(share_of)
    for width, strength in ((1.0, 0.35), (2.5, 0.40), (6.0, 0.35)):
        sigma = width * voxel
        mean, share = _blur(surface, sigma), _blur(share_of, sigma)
        below = np.clip((surface * share - mean) / sigma, 0, 1)
        seen = seen * (1 - np.float32(strength) * below)
    return seen


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian, on a coarser grid where that is fine enough."""
    step = max(1, int(sigma / 3))
    if step == 1:
        return scipy.ndimage.gaussian_filter(image, sigma, truncate=2.0, mode="constant")
    n = len(image)
    padded = np.pad(image, (0, -n % step))
    coarse = padded.reshape(len(padded) // step, step, -1, step).mean(axis=(1, 3))
    coarse = scipy.ndimage.gaussian_filter(coarse, sigma / step, truncate=2.0, mode="constant")
    place = (np.arange(n) + 0.5) / step - 0.5
    left = np.clip(np.floor(place).astype(int), 0, len(coarse) - 2)
    part = np.clip(place - left, 0, 1).astype(np.float32)
    rows = coarse[left] + part[:, None] * (coarse[left + 1] - coarse[left])
    return rows[:, left] + part * (rows[:, left + 1] - rows[:, left])


def _silhouette(depth: np.ndarray, covered: np.ndarray, voxel: float) -> np.ndarray:
    """Mark the outline, and rims where something stands well in front of what is behind."""
    jump = depth - scipy.ndimage.minimum_filter(depth, 3)
    outline = covered & ~scipy.ndimage.binary_erosion(covered, border_value=1)
    return np.maximum(np.clip(jump / voxel - 1.5, 0, 1), outline)


def _unit(vector) -> np.ndarray:
    return np.asarray(vector, np.float64) / np.linalg.norm(vector)


def _facing(normal: np.ndarray, direction) -> np.ndarray:
    return np.clip(normal @ _unit(direction).astype(np.float32), 0, 1)


def _halve(image: np.ndarray) -> np.ndarray:
    return 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])
