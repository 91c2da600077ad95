"""Small picture work: projections of maps, grounds, montages, encoding."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


def projection(
    volume: Float[np.ndarray, "n n n"], axis: int = 0, kind: str = "mean"
) -> UInt8[np.ndarray, "n n"]:
    """Project a map along one axis (0 is z, the beam) into a grey image, black to white.

    **Arguments:** `kind`: `"mean"` (what an image without CTF shows) or `"max"`.
    """
    flat = volume.max(axis=axis) if kind == "max" else volume.mean(axis=axis)
    low, high = np.percentile(flat, (1.0, 99.9))
    scaled = (flat - low) / max(float(high - low), 1e-30)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def over(
    picture: UInt8[np.ndarray, "h w 4"], ground: tuple[int, int, int] = (255, 255, 255)
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a transparent picture on a plain ground."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    mixed = picture[..., :3] * alpha + np.asarray(ground, np.float32) * (1 - alpha)
    return np.rint(mixed).astype(np.uint8)


def montage(
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]], columns: int
) -> UInt8[np.ndarray, "H W 4"]:
    """Set pictures of one size in rows of `columns`."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * height, columns * width, 4), np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = picture
    return sheet


def encode(picture: UInt8[np.ndarray, "h w *c"], kind: str = "PNG", quality: int = 82) -> bytes:
    """Encode a grey, RGB or RGBA picture as PNG or WEBP."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, quality=quality, method=4)
    return stream.getvalue()
