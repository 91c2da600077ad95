"""Did undoing the motion improve the map? Half-map FSC before and after, part by part.

Both are judged with the same masks, from the same images, and what a mask adds is taken off.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.reconstruction.deformed.reconstruct import DeformedReconstruction
from vitreous.reconstruction.deformed.regions import Regions, find_regions
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation
from vitreous.reconstruction.fsc_correction import corrected_fsc, randomisation_shell

Word = Literal["improved", "no change", "worse"]

THRESHOLDS = (0.5, 0.143)
# Crossings of the same images' curves that differ by less are alike.
_ALIKE = 0.03


class Comparison(NamedTuple):
    """Compare two reconstructions in a part of the molecule.

    **Fields:** `before` and `after`: FSC curves, the mask's share taken off. `resolution` (Å) of
    both at each threshold. `gain`: ratio of the frequencies reached, the geometric mean over the
    thresholds; above 1 is better. `reach` (Å): how far the part moves, root mean square. `share`
    of the molecule.
    """

    before: Float[np.ndarray, " shells"]
    after: Float[np.ndarray, " shells"]
    resolution: dict[float, tuple[float, float]]
    gain: float
    reach: float
    share: float

    @property
    def word(self) -> Word:
        """What came of it."""
        if self.gain >= 1 + _ALIKE:
            return "improved"
        return "worse" if self.gain <= 1 - _ALIKE else "no change"


class Verdict(NamedTuple):
    """Say what undoing the motion did: a `word`, a `line` for people, and `parts` of the molecule
    (`whole`, and `moving` and `still` where there are such)."""

    word: Word
    line: str
    parts: dict[str, Comparison]
    regions: Regions

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "verdict": self.word,
            "line": self.line,
            "parts": {
                name: {
                    "gain": round(part.gain, 4),
                    "verdict": part.word,
                    "moves_angstrom": round(part.reach, 3),
                    "share_of_molecule": round(part.share, 3),
                    "resolution_angstrom": {
                        f"fsc_{threshold:g}": {"before": round(a, 3), "after": round(b, 3)}
                        for threshold, (a, b) in part.resolution.items()
                    },
                }
                for name, part in self.parts.items()
            },
        }


def judge(result: DeformedReconstruction, seed: int = 0) -> Verdict:
    """Compare the maps with and without motion undone.

    **Arguments:** `seed`: of the phase randomisation.

    **Returns:** "improved" or "worse" as the moving part goes, if the resting one is not worse;
    "no change" within 3 % of the frequency reached.
    """
    # Found in both maps together: neither has the say where the molecule is.
    shown = (np.asarray(result.plain.volume) + np.asarray(result.deformed.volume)) / 2
    regions = find_regions(shown, result.amplitude, result.voxel_size)
    parts = {
        name: compare(
            result.plain, result.deformed, mask, result.voxel_size, seed,
            regions.reach[name], regions.share[name],
        )
        for name, mask in regions.masks().items()
    }  # fmt: skip
    word = _word(parts)
    return Verdict(word, _line(word, parts), parts, regions)


def compare(
    plain: Consensus,
    deformed: Consensus,
    mask: Float[np.ndarray, "n n n"],
    voxel_size: float,
    seed: int = 0,
    reach: float = 0.0,
    share: float = 1.0,
) -> Comparison:
    """Compare two pairs of half maps inside a mask."""
    box = len(mask)
    curves = [_curve(made, mask, seed) for made in (plain, deformed)]
    found = {t: tuple(_frequency(curve, t) for curve in curves) for t in THRESHOLDS}
    gain = float(np.exp(np.mean([np.log(after / before) for before, after in found.values()])))
    extent = box * voxel_size
    resolution = {t: (extent / a, extent / b) for t, (a, b) in found.items()}
    return Comparison(curves[0], curves[1], resolution, gain, reach, share)


def _curve(made: Consensus, mask: np.ndarray, seed: int) -> Float[np.ndarray, " shells"]:
    first, second = (jnp.asarray(half) for half in made.half_maps)
    soft = jnp.asarray(mask)
    masked = fourier_shell_correlation(first * soft, second * soft)
    shell = randomisation_shell(np.asarray(masked))
    return np.asarray(corrected_fsc(first, second, soft, shell, jax.random.key(seed)))


def _frequency(curve: np.ndarray, threshold: float) -> float:
    """Return where a curve crosses, in shells: its end if it never does, one shell at least."""
    shell = crossing(curve, threshold)
    return float(len(curve)) if shell is None else max(shell, 1.0)


def _word(parts: dict[str, Comparison]) -> Word:
    told = parts.get("moving", parts["whole"]).word
    rest = parts["still"].word if "still" in parts else "no change"
    return "worse" if rest == "worse" and told != "improved" else told


def _line(word: Word, parts: dict[str, Comparison]) -> str:
    names = {"moving": "where it moves", "still": "where it rests", "whole": "over all"}
    told = []
    for name in ("moving", "still") if "moving" in parts else ("whole",):
        if name not in parts:
            continue
        part = parts[name]
        before, after = part.resolution[0.5]
        gold_before, gold_after = part.resolution[0.143]
        text = f"{names[name]} ({part.reach:.1f} Å rms, {part.share:.0%} of the molecule) "
        text += f"FSC 0.5 at {after:.2f} Å (was {before:.2f}), "
        # Rounded first and 0 added, lest a loss of nothing reads "-0.0%".
        change = round(part.gain - 1, 3) + 0.0
        text += f"0.143 at {gold_after:.2f} Å (was {gold_before:.2f}): {change:+.1%}"
        told.append(text)
    still = "" if "moving" in parts else "; nothing moves by a quarter of a voxel"
    return f"{word}: {'; '.join(told)}{still}"
