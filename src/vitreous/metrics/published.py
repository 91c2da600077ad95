"""Published scores to stand beside one's own, each with where it was read.

Only values found in print or in two agreeing quotations are listed. They were measured on the
data sets named, at their box and noise: a score of another set does not compare with them.
"""

from typing import Literal, NamedTuple, get_args

from vitreous.errors import InputError

DataSet = Literal["igg-1d", "igg-rl", "ribosembly", "tomotwin-100", "spike-md"]
Measure = Literal["per image", "per conformation"]

_IMAGE = "CryoBench v2 (Jeon et al., NeurIPS 2024), as quoted by CVPR 2026 papers"
_OWN = "the method's own paper (CVPR 2026)"
_STATE = "CryoSPIRE (arXiv 2506.09063), table 2"
_SETS: tuple[DataSet, ...] = get_args(DataSet)


class Published(NamedTuple):
    """Hold one published mean AUC-FSC; the best possible is 0.492 at box 128, 0.496 at 256."""

    method: str
    data_set: DataSet
    measure: Measure
    area: float
    source: str


def _rows(measure: Measure, source: str, table: dict[str, tuple[float | None, ...]]) -> list:
    return [
        Published(method, name, measure, value, source)
        for method, values in table.items()
        for name, value in zip(_SETS, values, strict=False)
        if value is not None
    ]


PUBLISHED: tuple[Published, ...] = tuple(
    _rows(
        "per image",
        _IMAGE,
        {
            "cryoDRGN": (0.351, 0.331, 0.412, 0.316, 0.340),
            "DRGN-AI, poses fixed": (0.364, 0.348, 0.372, 0.202, 0.301),
            "RECOVAR": (0.386, 0.363, 0.429, 0.258, 0.362),
            "OPUS-DSD": (None, None, None, 0.237, None),
            "backprojection, true labels": (None, None, None, 0.364, None),
        },
    )
    + _rows(
        "per image",
        _OWN,
        {
            "CryoKRAQEN": (0.375, 0.352, 0.418, 0.335, 0.328),
            "CryoHype": (None, None, None, 0.346, None),
        },
    )
    + _rows(
        "per conformation",
        _STATE,
        {
            "3D classification": (0.297, 0.309, 0.289),
            "cryoDRGN": (0.366, 0.349, 0.415),
            "DRGN-AI, poses fixed": (0.366, 0.355, 0.372),
            "3DFlex": (0.336, 0.339, None),
            "3DVA": (0.351, 0.341, 0.375),
            "RECOVAR": (0.391, 0.372, 0.430),
            "CryoSPIRE": (0.402, 0.386, 0.427),
        },
    )
)


def check_data_set(name: str) -> DataSet:
    """Read the name of a data set.

    **Raises:** `InputError` naming those there are.
    """
    for data_set in _SETS:
        if data_set == name:
            return data_set
    raise InputError(f"data set {name!r}: there are {', '.join(_SETS)}")


def published_rows(data_set: DataSet, measure: Measure) -> list[Published]:
    """List published scores of a data set, the best first."""
    rows = [p for p in PUBLISHED if p.data_set == data_set and p.measure == measure]
    return sorted(rows, key=lambda p: -p.area)
