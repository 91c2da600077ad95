"""Atoms of a structure file, and the Gaussians electrons see in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.imaging.gaussians import GaussianAtoms

if TYPE_CHECKING:
    import gemmi


@dataclass(frozen=True, eq=False)
class Atoms:
    """List atoms: `position` (Å), `atomic_number`, `bfactor` (Å²), `occupancy` (0..1)."""

    position: Float[np.ndarray, "m 3"]
    atomic_number: Int[np.ndarray, " m"]
    bfactor: Float[np.ndarray, " m"]
    occupancy: Float[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.position)

    def centered(self) -> "Atoms":
        """Move the centre of mass (of atomic numbers) to the origin, where a box has its centre."""
        weight = (self.atomic_number * self.occupancy)[:, None].astype(np.float64)
        centre = np.sum(self.position * weight, axis=0) / np.sum(weight)
        position = (self.position - centre).astype(np.float32)
        return Atoms(position, self.atomic_number, self.bfactor, self.occupancy)

    @property
    def radius(self) -> float:
        """Distance in Å of the farthest atom from the origin."""
        return float(np.linalg.norm(self.position, axis=1).max())


def read_atoms(
    path: str | Path,
    selection: str | None = None,
    model: int = 1,
    hydrogens: bool = True,
    assembly: str | None = None,
) -> Atoms:
    """Read a structure from a PDB or mmCIF file, plain or gzipped.

    **Arguments:** `selection`: which atoms, in Gemmi's language (`"A"` is chain A,
    `"A/10-20/CA"` the Cα of some residues). `model`: which model of several, from 1. `hydrogens`:
    keep them. `assembly`: name of the biological assembly to build, often `"1"`; of each copied
    chain the selection chooses the same atoms.

    **Raises:** `InputError` if the file is none, the model, the assembly or the selection is empty,
    an atom's element is unknown or its coordinates are not numbers.
    """
    path = Path(path)
    structure = read_structure(path)
    if not 1 <= model <= len(structure):
        raise InputError(f"{path}: has {len(structure)} models, there is no model {model}")
    return _atoms_of(path, structure, model - 1, selection, hydrogens, assembly)


def read_models(
    path: str | Path,
    selection: str | None = None,
    hydrogens: bool = True,
    assembly: str | None = None,
) -> list[Atoms]:
    """Read every model of a structure file; see `read_atoms`."""
    path = Path(path)
    structure = read_structure(path)
    return [
        _atoms_of(path, structure, i, selection, hydrogens, assembly) for i in range(len(structure))
    ]


def read_structure(path: Path) -> "gemmi.Structure":
    """Read a structure file whole, as Gemmi has it.

    **Raises:** `InputError` if the file is none or holds no atoms.
    """
    import gemmi

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a PDB or mmCIF structure ({error})") from error
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise InputError(f"{path}: it holds no atoms")
    return structure


def _copies(path: Path, structure: "gemmi.Structure", chosen: "gemmi.Model", name: str):
    import gemmi

    for assembly in structure.assemblies:
        if assembly.name == name:
            return gemmi.make_assembly(assembly, chosen, gemmi.HowToNameCopiedChain.Dup)
    names = ", ".join(assembly.name for assembly in structure.assemblies)
    has = f"has the assemblies {names}" if names else "lists no biological assembly"
    raise InputError(f"{path}: {has}, there is no {name!r}")


def _atoms_of(
    path: Path,
    structure: "gemmi.Structure",
    index: int,
    selection: str | None,
    hydrogens: bool,
    assembly: str | None,
) -> Atoms:
    import gemmi

    chosen = structure[index]
    if selection is not None:
        try:
            wanted = gemmi.Selection(selection)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"selection {selection!r}: {error}") from error
        chosen = wanted.copy_model_selection(chosen)
    if assembly is not None:
        chosen = _copies(path, structure, chosen, assembly)
    found = [
        (entry, residue, chain)
        for chain in chosen
        for residue in chain
        for entry in residue
        if hydrogens or not entry.is_hydrogen()
    ]
    if not found:
        what = f"the selection {selection!r} matches" if selection is not None else "it holds"
        raise InputError(f"{path}: {what} no atoms")
    for atom, residue, chain in found:
        if not 1 <= atom.element.atomic_number <= 98:
            raise InputError(
                f"{path}: atom {atom.name} of {residue.name} {residue.seqid} in chain "
                f"{chain.name} has the unknown element {atom.element.name!r}; "
                "write its symbol into the element column"
            )
    atoms = Atoms(
        np.array([a.pos.tolist() for a, _, _ in found], np.float32),
        np.array([a.element.atomic_number for a, _, _ in found], np.int32),
        np.array([a.b_iso for a, _, _ in found], np.float32),
        np.array([a.occ for a, _, _ in found], np.float32),
    )
    for name in ("position", "bfactor", "occupancy"):
        column = getattr(atoms, name)
        bad = ~np.isfinite(column.reshape(len(atoms), -1)).all(axis=1)
        if bad.any():
            atom, residue, chain = found[int(np.argmax(bad))]
            raise InputError(
                f"{path}: the {name} of atom {atom.name} of {residue.name} {residue.seqid} in "
                f"chain {chain.name} is not a number"
            )
    if not (atoms.occupancy > 0).any():
        raise InputError(f"{path}: every atom has occupancy 0")
    return atoms


def peng_factors(
    atomic_number: Int[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, "m 5"], Float[np.ndarray, "m 5"]]:
    """Look up the electron scattering factors of neutral atoms, `f(k) = Σ a exp(−b k²/4)`.

    **Returns:** `a` in Å and `b` in Å², one row an atom.

    **Source:** Peng et al. (1996) Acta Cryst. A52, 257 (International Tables C, 4.3.2.2), from
    Gemmi.
    """
    import gemmi

    species, which = np.unique(atomic_number, return_inverse=True)
    factors = [gemmi.Element(int(z)).c4322 for z in species]
    return np.array([f.a for f in factors])[which], np.array([f.b for f in factors])[which]


def scattering_gaussians(
    atoms: Atoms, use_bfactors: bool = True, extra_bfactor: float = 0.0
) -> GaussianAtoms:
    """Describe each atom by the five Gaussians of its electron scattering factor.

    **Arguments:** `use_bfactors`: blur each atom by its own B. `extra_bfactor`: Å², added to all.

    **Returns:** amplitudes in Å, so that maps are potentials `U` in Å⁻² (first Born
    approximation; `V[volts] = 47.87765 U`). Each term of `peng_factors` is a Gaussian of variance
    `(b + B) / 8π²`.
    """
    a, b = peng_factors(atoms.atomic_number)
    blur = np.maximum(atoms.bfactor if use_bfactors else 0.0, 0.0) + extra_bfactor
    variance = (b + np.reshape(blur, (-1, 1))) / (8 * np.pi**2)
    amplitude = a * atoms.occupancy[:, None]
    return GaussianAtoms(atoms.position, amplitude.astype(np.float32), variance.astype(np.float32))
