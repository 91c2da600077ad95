"""Write simulated micrographs as a session would leave them, with every particle's truth."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.maps import write_map
from vitreous.simulation.field_of_view import image_field
from vitreous.simulation.field_recording import record_field
from vitreous.simulation.field_truth import FieldTruth, draw_field
from vitreous.simulation.fingerprint import fingerprint
from vitreous.simulation.micrograph_files import (
    ctf_cells,
    optics_block,
    write_micrograph,
    write_table,
)
from vitreous.simulation.micrograph_options import MicrographOptions
from vitreous.simulation.set_folder import check_folder, describe_folder
from vitreous.simulation.specimen import Specimen


def simulate_micrographs(
    specimen: Specimen,
    folder: str | Path,
    options: MicrographOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda micrographs: None,
) -> list[FieldTruth]:
    """Simulate micrographs and write them to a folder.

    **Arguments:** `specimen`: `MapStates` or `HingeMotion`, or anything alike; maps must hold
    potentials in Å⁻² where electrons are counted. `overwrite`: replace what the folder holds.
    `progress`: called with the number of micrographs since its last call.

    **Returns:** the truth of each. Written are `micrographs/mic_0001.mrc` … (electrons a pixel,
    dark particles), `micrographs.star`, `coordinates/mic_0001.star` … and `particles.star` (RELION
    layouts, with poses, each particle's own defocus and its state), `truth.npz`, `volumes/` and
    `simulation.yaml`. A call that was killed goes on when it is repeated.

    **Raises:** `InputError` for options that make no sense, or a folder that holds another set.

    ```python
    specimen = HingeMotion(hinge_phantom(), box=64, pixel_size=3.2)
    simulate_micrographs(specimen, "session", MicrographOptions(size=(1024, 768), particles=30))
    ```
    """
    options = options or MicrographOptions()
    options.check()
    folder = Path(folder).absolute()
    table = folder / "particles.star"
    if table.exists() and not overwrite:
        raise InputError(f"{folder}: holds micrographs; choose another folder or --overwrite")
    word = fingerprint(specimen, asdict(options))
    if not overwrite:
        check_folder(folder, word)
    truths = [draw_field(specimen, options, number) for number in range(options.count)]
    noise = []
    for number, truth in enumerate(truths):
        path = folder / "micrographs" / f"{_name(number)}.mrc"
        signal = image_field(specimen, truth, options, number)
        image, deviation = record_field(
            signal, truth, options, specimen.box, specimen.pixel_size, number
        )
        if number == 0:
            # The first one shows whether the options can be met; before it nothing is touched.
            if overwrite:
                table.unlink(missing_ok=True)
            describe_folder(folder, asdict(options), word)
        write_micrograph(path, image, specimen.pixel_size)
        noise.append(deviation)
        progress(1)
    _write_truth(specimen, truths, noise, folder)
    _write_tables(specimen, truths, folder)
    return truths


def _name(number: int) -> str:
    return f"mic_{number + 1:04d}"


def _write_truth(
    specimen: Specimen, truths: list[FieldTruth], noise: list[float], folder: Path
) -> None:
    counts = [len(truth.height) for truth in truths]
    fields: dict[str, Any] = {
        "labels": np.concatenate([truth.state for truth in truths]),
        "R": np.concatenate([truth.rotation for truth in truths]),
        "place": np.concatenate([truth.place for truth in truths]),
        "height": np.concatenate([truth.height for truth in truths]),
        "micrograph": np.repeat(np.arange(len(truths)), counts),
        "vols": specimen.volumes(),
        "apix": np.float64(specimen.pixel_size),
        "noise": np.array(noise),
    }
    coordinates = [truth.coordinate for truth in truths if truth.coordinate is not None]
    if coordinates:
        fields |= {"t": np.concatenate(coordinates), "period": np.float64("nan")}
    for state, volume in enumerate(fields["vols"]):
        write_map(folder / "volumes" / f"vol_{state:03d}.mrc", volume, specimen.pixel_size)
    with atomic_path(folder / "truth.npz") as temporary:
        np.savez(temporary, **fields)


def _write_tables(specimen: Specimen, truths: list[FieldTruth], folder: Path) -> None:
    optics = optics_block(truths[0].ctf, specimen.pixel_size)
    micrographs: dict[str, list[str]] = {"rlnMicrographName": [], "rlnOpticsGroup": []}
    particles: dict[str, list[str]] = {}
    for number, truth in enumerate(truths):
        image = f"micrographs/{_name(number)}.mrc"
        row = {"rlnMicrographName": [image], "rlnOpticsGroup": ["1"]}
        if truth.ctf is not None:
            ctf = type(truth.ctf)(*(np.asarray(field)[None] for field in truth.ctf))
            row |= ctf_cells(ctf)
        for name, cells in row.items():
            micrographs.setdefault(name, []).extend(cells)
        columns = _particle_cells(truth)
        write_table(folder / "coordinates" / f"{_name(number)}.star", None, "", columns)
        named = {"rlnMicrographName": [image] * len(truth.height)} | columns
        for name, cells in named.items():
            particles.setdefault(name, []).extend(cells)
    write_table(folder / "micrographs.star", optics, "micrographs", micrographs)
    write_table(folder / "particles.star", optics, "particles", particles)


def _particle_cells(truth: FieldTruth) -> dict[str, list[str]]:
    angles = matrix_to_euler(truth.rotation.astype(np.float64))
    numbers = {
        "rlnCoordinateX": truth.place[:, 0],
        "rlnCoordinateY": truth.place[:, 1],
        "rlnAngleRot": angles[:, 0],
        "rlnAngleTilt": angles[:, 1],
        "rlnAnglePsi": angles[:, 2],
        "rlnOriginXAngst": np.zeros(len(angles)),
        "rlnOriginYAngst": np.zeros(len(angles)),
    }
    cells = {name: [f"{value:.4f}" for value in column] for name, column in numbers.items()}
    cells["rlnOpticsGroup"] = ["1"] * len(angles)
    cells["rlnClassNumber"] = (truth.state + 1).astype(str).tolist()
    return cells | ctf_cells(truth.particle_ctf())
