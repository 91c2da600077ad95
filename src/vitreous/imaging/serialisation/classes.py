"""The classes that a file may name: one table, and nothing else is ever looked up."""

import dataclasses
import importlib

from vitreous.errors import InputError

# Class: its module in vitreous.imaging.
CLASSES: dict[str, str] = {
    "ImageGrid": "grid",
    "Pose": "pose",
    "Optics": "optics.lens",
    "GaussianIce": "ice",
    "Exposure": "exposure",
    "Detector": "detector",
    "GaussianNoise": "noise",
    "ImageModel": "image_model",
    "Constant": "operators",
    "Sum": "operators",
    "Product": "operators",
    "Power": "operators",
    "Tabulated": "operators",
    "Sampled": "operators",
    "LowPass": "filters",
    "GaussianFilter": "filters",
    "Lorentzian": "filters",
    "ExponentialDecay": "filters",
    "Sinc": "filters",
    "RoundMask": "masks",
    "SquareMask": "masks",
    "RectangleMask": "masks",
    "CylinderMask": "masks",
    "LogParameter": "parameters",
    "ScaledParameter": "parameters",
    "Frozen": "parameters",
    "TangentRotation": "parameters",
    "FourierGrid": "fourier_grid",
    "GridShape": "fourier_grid",
    "CTFParameters": "ctf",
    "GaussianAtoms": "gaussians",
    "VoxelVolume": "volumes.voxel_volume",
    "FourierVolume": "volumes.fourier_volume",
    "GaussianVolume": "volumes.gaussian_volume",
    "AtomVolume": "volumes.atom_volume",
    "NeuralVolume": "volumes.neural_volume",
    "Assembly": "volumes.assembly",
    "DiscreteEnsemble": "volumes.ensemble",
    "ContinuousEnsemble": "volumes.ensemble",
    "Conformations": "volumes.ensemble",
}


def find_class(name: str, where: str) -> type:
    """Return a class by its name.

    **Raises:** `InputError` if the table does not list it; `where` says whose name it is.
    """
    if name not in CLASSES:
        raise InputError(f"{where}: names the class {name!r}, which vitreous does not know")
    return getattr(importlib.import_module(f"vitreous.imaging.{CLASSES[name]}"), name)


def field_names(kind: type) -> tuple[str, ...]:
    """List the fields of a module or a named tuple."""
    if issubclass(kind, tuple):
        return kind._fields  # type: ignore[attr-defined]
    return tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]
