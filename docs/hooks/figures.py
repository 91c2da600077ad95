"""Draw the pictures of the pages again, from the examples that the pages show.

python docs/hooks/figures.py imaging/images.md
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]


def draw(page: str) -> None:
    """Run a page's examples and keep the pictures they save."""
    text = (DOCS / page).read_text(encoding="utf-8")
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            namespace: dict = {"__name__": "example"}
            for block in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
                exec(compile(block, page, "exec"), namespace)
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, DOCS / "images" / picture.name)
                print(DOCS / "images" / picture.name)
        finally:
            os.chdir(home)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        draw(name)
