"""The little sets held in memory: images, map and truth agree."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.geometry.fourier import frequencies, half_plane
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set


def test_images_are_slices_of_the_map_they_tell():
    some = blob_set("hinge", 4, snr=1e8, seed=3)
    box = some.source.box
    k = frequencies(box, 2, half=True).reshape(-1, 2)
    inside = np.linalg.norm(k, axis=-1) < 12
    physical = jnp.asarray(k[inside] / np.float32(box * PIXEL_SIZE))

    @jax.jit
    def recorded(volume, rotation, lens, shift):
        cut = slice_grid(volume_to_grid(volume, 2.0, "cubic"), rotation, jnp.asarray(k[inside]))
        return (
            cut
            * evaluate_ctf(physical, lens).astype(cut.dtype)
            * phase_shift(physical[None], shift)
        )

    for i in range(4):
        lens = CTFParameters(*(jnp.asarray(c[i : i + 1]) for c in some.table.ctf))
        volume = jnp.asarray(some.volume(some.angle[i]))
        rotation, shift = (jnp.asarray(a[i : i + 1]) for a in (some.rotation, some.shift))
        expected = recorded(volume, rotation, lens, shift)
        # Beam integrals, where the slice holds sums over voxels.
        seen = half_plane(jnp.asarray(some.source.read(i))).reshape(-1)[inside] / PIXEL_SIZE
        error = np.linalg.norm(seen - expected[0]) / np.linalg.norm(seen)
        # Images are cut off at the box, which a swinging arm and a wide CTF reach.
        assert error < 0.01


def test_signal_and_noise_stand_in_the_ratio_asked_for():
    quiet, loud = blob_set("rigid", 200, 1e8, 1), blob_set("rigid", 200, 0.25, 1)
    noise = loud.source.images - quiet.source.images
    assert np.isclose(quiet.source.images.var() / noise.var(), 0.25, rtol=0.02)
    assert abs(blob_set("noise", 50, 0.25, 1).source.images.mean()) < 0.01 * noise.std() * 5


def test_the_twins_differ_by_the_marker_alone():
    twins = blob_set("twins", 2)
    turned = twins.position[:-2] * np.array([-1.0, -1.0, 1.0])
    distance = np.linalg.norm(turned[:, None] - twins.position[None, :-2], axis=-1)
    assert (distance.min(axis=1) < 1e-9).all()
    assert np.isclose(twins.amplitude[-2:].sum() / twins.amplitude.sum(), 0.15)
