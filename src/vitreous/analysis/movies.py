"""Movies of a series of maps: animated GIF always, MP4 where ffmpeg came with imageio."""

import importlib.util
import logging
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vitreous.analysis.pictures import over
from vitreous.analysis.rendering import render_surface
from vitreous.analysis.view import View
from vitreous.files import atomic_path

logger = logging.getLogger(__name__)


def render_series(
    volumes: Sequence[Float[np.ndarray, "n n n"]],
    view: View,
    size: int = 256,
    tint: Float[np.ndarray, "m m m"] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[UInt8[np.ndarray, "size size 4"]]:
    """Draw every map of a series in one view."""
    pictures = []
    for volume in volumes:
        pictures.append(render_surface(volume, view, size, tint))
        if progress is not None:
            progress(len(pictures), len(volumes))
    return pictures


def there_and_back(frames: Sequence) -> list:
    """Append the way back, ends not doubled, so that a loop has no jump."""
    return [*frames, *frames[-2:0:-1]]


def write_gif(
    path: Path,
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]],
    frames_per_second: float = 8,
    ground: tuple[int, int, int] = (255, 255, 255),
) -> None:
    """Write an endless GIF; all frames share the palette of the whole movie."""
    frames = [over(picture, ground) for picture in pictures]
    whole = Image.fromarray(np.concatenate(frames, axis=0))
    palette = whole.quantize(colors=255, method=Image.Quantize.MEDIANCUT)
    images = [
        Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames
    ]
    duration = round(1000 / frames_per_second)
    with atomic_path(path) as temporary:
        images[0].save(
            temporary, save_all=True, append_images=images[1:], duration=duration, loop=0
        )


def write_mp4(
    path: Path,
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]],
    frames_per_second: float = 8,
    ground: tuple[int, int, int] = (255, 255, 255),
) -> bool:
    """Write an H.264 movie if imageio-ffmpeg is installed; say whether it was written."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return False
    import imageio_ffmpeg

    frames = [over(picture, ground) for picture in pictures]
    # H.264 with the colour sampling every player reads wants even sides.
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {frames_per_second:g} -i -"
    target = "-an -c:v libx264 -pix_fmt yuv420p -crf 18 -movflags +faststart"
    words = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", *source.split(), *target.split()]
    pixels = b"".join(np.ascontiguousarray(f[:height, :width]).tobytes() for f in frames)
    with atomic_path(path) as temporary:
        done = subprocess.run([*words, str(temporary)], input=pixels, capture_output=True)
        if done.returncode != 0:
            logger.warning("no %s: ffmpeg failed: %s", path.name, done.stderr[-200:].decode())
            return False
    return True
