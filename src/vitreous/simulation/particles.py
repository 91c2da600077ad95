"""Write a particle set as a microscope and a picking program would leave it, with the truth.

Every random choice of a particle belongs to its number, not to its batch: a set is the same bit
for bit however it is cut into batches. Signals are band-limited to the Nyquist circle.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from jaxtyping import Array, Float, Int

from vitreous.errors import InputError
from vitreous.files import atomic_path, write_text
from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import quaternion_to_matrix
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import Contrast, CTFParameters, evaluate_ctf
from vitreous.imaging.noise import SNRDefinition, noise_deviation, white_noise
from vitreous.particles import ParticleTable, StackWriter, write_map
from vitreous.simulation.optics import Optics
from vitreous.simulation.specimen import Specimen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParticleOptions:
    """Say what a simulated set is like.

    **Arguments:** `count`: images. `snr`: ratio of the variances of signal and noise, None for no
    noise; `snr_definition`: over which pixels, see `noise_deviation`; `mask_radius` in Å for
    `"mask"`. `max_shift` in Å: centres lie evenly in a square of twice this side. `optics`: None
    for images without a CTF. `contrast`: sign of the particles. `seed`. `batch`: images computed
    at a time.
    """

    count: int = 2000
    snr: float | None = 0.1
    snr_definition: SNRDefinition = "box"
    mask_radius: float | None = None
    max_shift: float = 0.0
    optics: Optics | None = field(default_factory=Optics)
    contrast: Contrast = "white"
    seed: int = 0
    batch: int = 64

    def check(self, specimen: Specimen) -> None:
        """Refuse what cannot be simulated. **Raises:** `InputError`."""
        half = specimen.box * specimen.pixel_size / 2
        if self.count < 1:
            raise InputError(f"-n {self.count}: simulate one particle at least")
        if self.snr is not None and not self.snr > 0:
            raise InputError(f"--snr {self.snr}: must be positive; --no-noise leaves it out")
        if not 0 <= self.max_shift < half:
            raise InputError(f"--shift {self.max_shift}: must be 0 to half the box, {half:g} Å")
        if self.mask_radius is not None and not self.mask_radius > 0:
            raise InputError(f"--mask-radius {self.mask_radius}: must be positive")
        if self.optics is not None:
            self.optics.check()


class Particles(NamedTuple):
    """Hold what is true of each particle: state, coordinate on a path or None, pose and CTF."""

    state: Int[np.ndarray, " n"]
    coordinate: Float[np.ndarray, " n"] | None
    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    ctf: CTFParameters | None
    half_set: Int[np.ndarray, " n"]


def draw_particles(
    specimen: Specimen,
    options: ParticleOptions,
    rotations: Float[np.ndarray, "n 3 3"] | None = None,
    shifts: Float[np.ndarray, "n 2"] | None = None,
    ctf: CTFParameters | None = None,
) -> Particles:
    """Draw states evenly, poses by Haar's measure, shifts, CTFs and half sets, or take the given.

    **Raises:** `InputError` if what is given is not one value an image.
    """
    n = options.count
    streams = np.random.SeedSequence(options.seed).spawn(5)
    states, poses, places, optics, halves = (np.random.default_rng(s) for s in streams)
    state, coordinate = specimen.draw(states, n)
    for name, given in (("poses", rotations), ("shifts", shifts), ("CTFs", ctf)):
        number = n if given is None else len(given[0] if given is ctf else given)
        if number != n:
            raise InputError(f"{number} {name} are given for {n} particles")
    if rotations is None:
        rotations = quaternion_to_matrix(poses.normal(size=(n, 4)))
    if shifts is None:
        shifts = places.uniform(-options.max_shift, options.max_shift, (n, 2))
    if ctf is None and options.optics is not None:
        ctf = options.optics.draw(optics, n)
    return Particles(
        state.astype(np.int32),
        None if coordinate is None else coordinate.astype(np.float32),
        rotations.astype(np.float32),
        shifts.astype(np.float32),
        ctf,
        halves.permutation(np.arange(n) % 2).astype(np.int8),
    )


class _Rows(NamedTuple):
    """One batch of `Particles`, on the device, with the number of each particle."""

    number: Int[Array, " b"]
    state: Int[Array, " b"]
    coordinate: Float[Array, " b"]
    rotation: Float[Array, "b 3 3"]
    shift: Float[Array, "b 2"]
    ctf: CTFParameters | None


@partial(jax.jit, static_argnames=("contrast", "box", "pixel_size"))
def render(
    specimen: Specimen, rows: _Rows, *, box: int, pixel_size: float, contrast: Contrast
) -> Float[Array, "b n n"]:
    """Make noiseless images: project, apply the CTF, shift."""
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    k = jnp.asarray(pixels.frequency) / (box * pixel_size)
    values = specimen.project(rows.rotation, rows.state, rows.coordinate, pixels)
    values = values * phase_shift(k, rows.shift)
    if rows.ctf is not None:
        values = values * evaluate_ctf(k, rows.ctf, contrast).astype(values.dtype)
    elif contrast == "dark":
        values = -values
    return image_from_half_plane(pixels.scatter(values), box)


@partial(jax.jit, static_argnames=("contrast", "box", "pixel_size"))
def _render_noisy(
    specimen: Specimen,
    rows: _Rows,
    key: jax.Array,
    deviation: Float[Array, ""],
    **settings,
) -> Float[Array, "b n n"]:
    images = render(specimen, rows, **settings)
    return images + deviation * white_noise(key, rows.number, images.shape[-1])


def _rows(particles: Particles, number: Int[np.ndarray, " b"]) -> _Rows:
    coordinate = particles.coordinate
    if coordinate is None:
        coordinate = np.zeros(len(particles.state), np.float32)
    ctf = particles.ctf
    if ctf is not None:
        ctf = CTFParameters(*(jnp.asarray(np.asarray(column)[number]) for column in ctf))
    return _Rows(
        jnp.asarray(number, jnp.int32),
        jnp.asarray(particles.state[number]),
        jnp.asarray(coordinate[number]),
        jnp.asarray(particles.rotation[number]),
        jnp.asarray(particles.shift[number]),
        ctf,
    )


def _batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Cut the particle numbers into batches of one size; the last repeats its last particle."""
    for first in range(0, count, size):
        yield np.minimum(np.arange(first, first + size), count - 1)


def measure_noise(specimen: Specimen, particles: Particles, options: ParticleOptions) -> float:
    """Find the noise that gives the wanted ratio, from up to 400 clean images of the set."""
    if options.snr is None:
        return 0.0
    count = len(particles.state)
    settings = _settings(specimen, options)
    chosen = np.unique(np.linspace(0, count - 1, min(count, 400)).astype(np.int64))
    clean = [
        np.asarray(render(specimen, _rows(particles, chosen[number]), **settings))
        for number in _batches(len(chosen), min(options.batch, count))
    ]
    signal = np.concatenate(clean)[: len(chosen)]
    radius = options.mask_radius
    if radius is not None:
        radius = radius / specimen.pixel_size
    return noise_deviation(signal, options.snr, options.snr_definition, radius)


def _settings(specimen: Specimen, options: ParticleOptions) -> dict[str, Any]:
    return {
        "box": specimen.box,
        "pixel_size": specimen.pixel_size,
        "contrast": options.contrast,
    }


def particle_images(
    specimen: Specimen, particles: Particles, options: ParticleOptions, deviation: float
) -> Iterator[Float[np.ndarray, "b n n"]]:
    """Give the images batch by batch, in order; the device computes one batch ahead."""
    count = len(particles.state)
    size = min(options.batch, count)
    key = jax.random.key(options.seed)
    settings = _settings(specimen, options)
    ahead: tuple[jax.Array, int] | None = None
    for number in _batches(count, size):
        rows = _rows(particles, number)
        if deviation > 0:
            images = _render_noisy(specimen, rows, key, jnp.float32(deviation), **settings)
        else:
            images = render(specimen, rows, **settings)
        if ahead is not None:
            yield np.asarray(ahead[0])[: ahead[1]]
        ahead = images, min(size, count - int(number[0]))
    if ahead is not None:
        yield np.asarray(ahead[0])[: ahead[1]]


def simulate_particles(
    specimen: Specimen,
    folder: str | Path,
    options: ParticleOptions | None = None,
    *,
    rotations: Float[np.ndarray, "n 3 3"] | None = None,
    shifts: Float[np.ndarray, "n 2"] | None = None,
    ctf: CTFParameters | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> ParticleTable:
    """Simulate a particle set and write it to a folder.

    **Arguments:** `specimen`: `MapStates` or `HingeMotion`, or anything alike. `rotations`
    (volume to image), `shifts` (Å), `ctf`: in place of drawn ones. `overwrite`: replace the set
    the folder holds. `progress`: called with the number of images written since its last call.

    **Returns:** the table, as read back from `particles.star`. Written are `particles.mrcs`,
    `particles.star` (RELION 3.1, white particles unless told otherwise), `truth.npz` (`labels`,
    `t`, `R`, `shift`, `vols`, `apix`, `noise`), `volumes/vol_000.mrc` … (one a state) and
    `simulation.yaml` (the options).

    **Raises:** `InputError` for options that make no sense or a folder that holds a set.

    ```python
    specimen = HingeMotion(hinge_phantom(), box=64, pixel_size=3.2)
    simulate_particles(specimen, "demo", ParticleOptions(count=2000, snr=0.1))
    ```
    """
    options = options or ParticleOptions()
    options.check(specimen)
    folder = Path(folder).absolute()
    if (folder / "particles.star").exists() and not overwrite:
        raise InputError(f"{folder}: holds a particle set; choose another folder or --overwrite")
    particles = draw_particles(specimen, options, rotations, shifts, ctf)
    deviation = measure_noise(specimen, particles, options)
    logger.info("noise of standard deviation %.6g", deviation)
    stack = folder / "particles.mrcs"
    with StackWriter(stack, options.count, specimen.box, specimen.pixel_size) as writer:
        for images in particle_images(specimen, particles, options, deviation):
            writer.write(images)
            progress(len(images))
    _write_truth(specimen, particles, deviation, folder)
    write_text(folder / "simulation.yaml", yaml.safe_dump(_plain(options), sort_keys=False))
    table = particle_table(specimen, particles, stack)
    table.to_star(folder / "particles.star")
    return table


def particle_table(specimen: Specimen, particles: Particles, stack: Path) -> ParticleTable:
    """Describe simulated particles, all in one stack, as a table."""
    n = len(particles.state)
    return ParticleTable(
        stacks=(str(stack),),
        stack_id=np.zeros(n, np.int32),
        image_index=np.arange(n, dtype=np.int64),
        box=np.full(n, specimen.box, np.int32),
        pixel_size=np.full(n, specimen.pixel_size, np.float64),
        rotation=particles.rotation,
        shift=particles.shift,
        ctf=particles.ctf,
        optics_group=np.zeros(n, np.int32),
        half_set=particles.half_set.astype(np.int8),
        row=np.arange(n, dtype=np.int64),
    )


def _write_truth(specimen: Specimen, particles: Particles, deviation: float, folder: Path) -> None:
    volumes = specimen.volumes()
    for state, volume in enumerate(volumes):
        write_map(folder / "volumes" / f"vol_{state:03d}.mrc", volume, specimen.pixel_size)
    fields: dict[str, Any] = {
        "labels": particles.state,
        "R": particles.rotation,
        "shift": particles.shift,
        "vols": volumes,
        "apix": np.float64(specimen.pixel_size),
        "noise": np.float64(deviation),
    }
    if particles.coordinate is not None:
        # A path with two ends: no value of the coordinate is a full turn.
        fields |= {"t": particles.coordinate, "period": np.float64("nan")}
    with atomic_path(folder / "truth.npz") as temporary:
        np.savez(temporary, **fields)


def _plain(options: ParticleOptions) -> dict[str, Any]:
    values = asdict(options)
    if options.optics is not None:
        values["optics"]["defocus"] = list(options.optics.defocus)
    return values
