"""Which methods there are, and how a run of each decodes: names only, one line a method.

It lies beneath the methods, so that a run can be asked for volumes by whoever knows nothing of
them; what a line names is imported when it is asked for.
"""

import importlib
from collections.abc import Callable

from vitreous.errors import InputError

# name → "module:function"; the function takes (run, epoch) and returns z (m, d) → volumes. What it
# returns may have `many(z, tolerance)` too, which yields volumes of many latents in less time.
METHODS: dict[str, str] = {
    "abinitio": "vitreous.methods.abinitio.decode:load_decoder",
    "flexible": "vitreous.methods.flexible.decode:load_decoder",
    "latent": "vitreous.methods.latent.decode:load_decoder",
    "subspace": "vitreous.methods.subspace.decode:load_decoder",
}

# name → "module:function"; the function takes (run, particles, data, epoch) and returns `Unseen`.
EVALUATORS: dict[str, str] = {
    "abinitio": "vitreous.methods.abinitio.unseen:evaluate",
    "flexible": "vitreous.methods.flexible.unseen:evaluate",
    "latent": "vitreous.methods.latent.unseen:evaluate",
    "subspace": "vitreous.methods.subspace.unseen:evaluate",
}

# name → "module:function"; the function takes (data with poses, zdim, diameter in Å) and returns a
# `Landscape`: what one method may ask of another without knowing it.
LANDSCAPES: dict[str, str] = {
    "subspace": "vitreous.methods.subspace.found_poses:fit_landscape",
}

# name → "module:function"; the function takes (run, epoch) and returns z (1, d) → positions and
# displacements (g, 3) in Å and widths (g) in Å: what moves, for methods that know.
GAUSSIANS: dict[str, str] = {
    "flexible": "vitreous.methods.flexible.decode:load_gaussians",
}


def decoder_loader(name: str) -> Callable:
    """Import the function `load_decoder(run, epoch)` of a method.

    **Raises:** `InputError` if no method of that name is known.
    """
    return _found(name, METHODS, "unknown method")


def evaluator(name: str) -> Callable:
    """Import the function of a method that poses or encodes unseen images.

    **Raises:** `InputError` if the method has none.
    """
    return _found(name, EVALUATORS, "unseen images cannot be evaluated by method")


def landscape_fitter(name: str) -> Callable:
    """Import the function of a method that fits a landscape to images with poses.

    **Raises:** `InputError` if the method has none.
    """
    return _found(name, LANDSCAPES, "no landscape is fitted by method")


def gaussian_model(name: str) -> Callable | None:
    """Import the function `load_gaussians(run, epoch)` of a method; None if it has none."""
    return _found(name, GAUSSIANS, "") if name in GAUSSIANS else None


def _found(name: str, table: dict[str, str], complaint: str) -> Callable:
    if name not in table:
        known = ", ".join(sorted(table))
        raise InputError(f"{complaint} {name!r} in config.yaml; this version knows: {known}")
    module, _, function = table[name].partition(":")
    return getattr(importlib.import_module(module), function)
