"""Fill the stack files of a shard: the disk writes while the device makes the next images."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vitreous.simulation.background import Background
from vitreous.simulation.layout import Part
from vitreous.simulation.partial_stack import PartialStack
from vitreous.simulation.rendering import Renderer

logger = logging.getLogger(__name__)


def write_stacks(
    folder: Path,
    parts: Sequence[Part],
    renderer: Renderer,
    box: int,
    pixel_size: float,
    progress: Callable[[int], object],
) -> None:
    """Write those of some stack files that are not there yet, going on where one was left.

    **Arguments:** `progress`: called with the number of images, also of those found.
    """
    progress(sum(part.count for part in parts if (folder / part.name).exists()))
    wanted = [part for part in parts if not (folder / part.name).exists()]
    with contextlib.ExitStack() as opened, Background() as background:

        def open_part(part: Part) -> PartialStack:
            stack = PartialStack(folder / part.name, part.count, box, pixel_size)
            opened.callback(stack.close)
            return stack

        for run in _runs(folder, wanted):
            place = iter(run)
            part = next(place)
            stack = open_part(part)
            _drop_if_different(stack, part, renderer)
            progress(stack.stored)
            at = part.first + stack.stored
            if at == part.stop:
                background.do(stack.finish)
                following = next(place, None)
                if following is None:
                    continue
                part, stack = following, open_part(following)
            for _, images in renderer.images(at, run[-1].stop):
                while len(images):
                    here = images[: part.stop - at]
                    background.do(partial(stack.write, here))
                    progress(len(here))
                    at, images = at + len(here), images[len(here) :]
                    if at == part.stop:
                        background.do(stack.finish)
                        following = next(place, None)
                        if following is not None:
                            part, stack = following, open_part(following)


def _runs(folder: Path, parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Group neighbours, which share the batch at their border; one with images begins a group."""
    run: list[Part] = []
    for part in parts:
        is_begun = PartialStack.hidden(folder / part.name).exists()
        if run and (run[-1].stop != part.first or is_begun):
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _drop_if_different(stack: PartialStack, part: Part, renderer: Renderer) -> None:
    """Make the last stored images again; where they differ nothing stored can be trusted."""
    if not stack.stored:
        return
    stop = part.first + stack.stored
    first = max(part.first, (stop - 1) // renderer.batch * renderer.batch)
    _, again = next(renderer.images(first, stop))
    if not np.array_equal(again, stack.read(first - part.first, stop - part.first)):
        logger.warning("%s: differs from what this program makes; begun anew", stack.partial)
        stack.discard()
