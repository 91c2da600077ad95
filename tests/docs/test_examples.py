"""Python examples of the pages work: `python` blocks run, of `py` blocks (too long) the imports."""

import ast
import shutil
import sys

import jax
import pytest
from pages import PAGES, ROOT, examples

PYTHON_PAGES = [page for page in PAGES if any(e.language == "python" for e in examples(page))]


def name(page) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name)
def test_python_examples_run(page, particle_set, tmp_path, monkeypatch):
    for file in ("particles.star", "particles.mrcs", "rows.txt"):
        shutil.copy(particle_set / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules, namespace = set(sys.modules), {"__name__": "example"}
    for example in examples(page):
        if example.language != "python":
            continue
        if example.title:
            (tmp_path / example.title).write_text(example.text, encoding="utf-8")
            continue
        # As a reader would run it: JAX as it comes, not as strict as the tests make it.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            exec(compile(example.text, f"{name(page)} (example)", "exec"), namespace)
    for added in set(sys.modules) - modules:
        if getattr(sys.modules[added], "__file__", None) == str(tmp_path / f"{added}.py"):
            del sys.modules[added]


SHOWN = [(page, e) for page in PAGES for e in examples(page) if e.language == "py"]


@pytest.mark.parametrize(("page", "example"), SHOWN, ids=[name(page) for page, _ in SHOWN])
def test_what_shown_examples_import_exists(page, example):
    tree = ast.parse(example.text)
    tree.body = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    exec(compile(tree, f"{name(page)} (example)", "exec"), {})
