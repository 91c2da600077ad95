"""Which methods there are, and how a run of each decodes: one line a method."""

import importlib
from collections.abc import Callable

from vitreous.errors import InputError

# name → "module:function"; the function takes (run, epoch) and returns z (m, d) → volumes.
METHODS: dict[str, str] = {
    "abinitio": "vitreous.methods.abinitio.decode:load_decoder",
    "latent": "vitreous.methods.latent.decode:load_decoder",
    "subspace": "vitreous.methods.subspace.decode:load_decoder",
}


def decoder_loader(name: str) -> Callable:
    """Import the function `load_decoder(run, epoch)` of a method.

    **Raises:** `InputError` if no method of that name is known.
    """
    if name not in METHODS:
        known = ", ".join(sorted(METHODS))
        raise InputError(f"unknown method {name!r} in config.yaml; this version knows: {known}")
    module, _, function = METHODS[name].partition(":")
    return getattr(importlib.import_module(module), function)
