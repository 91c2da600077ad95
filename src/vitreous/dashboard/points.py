"""The latent that a place of the plot means, whatever its axes are."""

import re

import numpy as np
from jaxtyping import Float32

from vitreous.dashboard.session import Session
from vitreous.errors import InputError

_LINEAR = re.compile(r"(z|pc)(\d+)")


def read_point(text: str) -> Float32[np.ndarray, " d"]:
    """Read numbers joined by commas. **Raises:** `InputError` if they are none, or too large."""
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise InputError(f"z: {text[:80]!r} is no list of numbers") from None
    if not np.all(np.abs(values) <= np.finfo(np.float32).max):
        raise InputError(f"z: {text[:80]!r} holds a number that is not finite or too large")
    return values.astype(np.float32)


def asked_point(
    session: Session,
    particle: int | None,
    z: str | None,
    cluster: int | None,
    axes: str | None = None,
) -> Float32[np.ndarray, " d"]:
    """Find the latent that a request means: of a particle, a point, a cluster, a place of the plot.

    **Raises:** `InputError` if it names none, or one that is not there.
    """
    if axes is not None and z is not None:
        return point_on_axes(session, axes.split(","), read_point(z), particle)
    if particle is not None:
        return session.z_of(particle)
    if z is not None:
        return read_point(z)
    if cluster is not None:
        mask = session.rules().mask({"cluster": [cluster]})
        if not mask.any():
            raise InputError(f"cluster {cluster}: no particle is in it")
        # The particle nearest to the middle: a mean of latents may lie where none is.
        members = session.latents().z[mask]
        return members[np.argmin(np.sum((members - members.mean(axis=0)) ** 2, axis=1))]
    raise InputError("say which volume: particle, z, cluster or consensus")


def point_on_axes(
    session: Session, names: list[str], place: Float32[np.ndarray, " k"], particle: int | None
) -> Float32[np.ndarray, " d"]:
    """Find the latent of a place on some axes.

    Of raw latents (`z1 …`) it is that very point, the other latents those of `particle`, or 0
    without one; of principal components the point that has these scores, the others those of
    `particle`, or 0. No formula leads back from any other axes (UMAP, volume components, defocus
    …): there it is the latent of the particle nearest on the plot, each axis over its deviation.

    **Raises:** `InputError` if names and numbers do not fit, or an axis has no numbers.
    """
    if len(names) != len(place):
        raise InputError(f"{len(names)} axes, but {len(place)} numbers")
    store = session.latents()
    found = [_LINEAR.fullmatch(name) for name in names]
    parts = [(m[1], int(m[2]) - 1) for m in found if m is not None and m[0] in store]
    kinds = {kind for kind, _ in parts}
    if len(parts) == len(names) and len(kinds) == 1:
        return _formula(session, kinds.pop(), [axis for _, axis in parts], place, particle)
    distance = np.zeros(len(store))
    for name, value in zip(names, place.tolist(), strict=True):
        if store[name].kind != "number":
            raise InputError(f"{name}: its values are names, no places")
        values = store.values(name).astype(np.float64)
        spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
        distance += ((values - value) / max(spread, 1e-30)) ** 2
    if not np.isfinite(distance).any():
        raise InputError(f"{' and '.join(names)}: no particle has both")
    return store.z[int(np.nanargmin(distance))]


def _formula(
    session: Session, kind: str, axes: list[int], place: np.ndarray, particle: int | None
) -> Float32[np.ndarray, " d"]:
    store = session.latents()
    z = np.zeros(store.z.shape[1], np.float32) if particle is None else session.z_of(particle)
    if kind == "z":
        z = z.copy()
        z[axes] = place
        return z
    components = store.components
    scores = np.zeros((1, len(components.variance)), np.float32)
    if particle is not None:
        scores = components.transform(z[None])
    scores[0, axes] = place
    return components.inverse(scores)[0]
