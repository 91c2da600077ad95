"""ChimeraX command files (`.cxc`) that open a series of maps ready to look at."""

from collections.abc import Sequence
from pathlib import Path

from vitreous.files import write_text

IVORY_HEX = "#ede0c7"


def series_script(names: Sequence[str], level: float, title: str, is_path: bool = True) -> str:
    """Word the commands that open maps as one volume series and play it.

    **Arguments:** `names`: file names beside the script, in order. `level`: contour. `is_path`:
    play to and fro, as for a traversal; else stop at the first map, as for clusters.
    """
    quoted = " ".join(f'"{name}"' if " " in name else name for name in names)
    lines = [
        f"# {title}: open this file in ChimeraX",
        f"open {quoted} vseries true" if len(names) > 1 else f"open {quoted}",
        f"volume #1 style surface step 1 level {level:.6g} color {IVORY_HEX}",
        "set bgColor white",
        "lighting soft",
        "graphics silhouettes true",
        "view",
    ]
    if len(names) > 1:
        play = "direction oscillate loop true maxFrameRate 8" if is_path else "jumpTo 0"
        lines.append(f"vseries play #1 {play}")
    return "\n".join(lines) + "\n"


def write_series_script(
    path: Path, names: Sequence[str], level: float, title: str, is_path: bool = True
) -> None:
    """Write the commands of `series_script` beside the maps."""
    write_text(path, series_script(names, level, title, is_path))
