"""The demo goes all the way; so small a version is only asked to arrive."""

import pytest

from vitreous.cli import demo as demo_module
from vitreous.cli.main import main


@pytest.mark.slow
def test_demo_makes_a_report_and_scores_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo_module, "HINGE_GOAL", 0.0)
    folder = tmp_path / "demo"
    main(["demo", "-o", str(folder), "-n", "300", "--epochs", "2"])
    said = capsys.readouterr()
    assert "hinge angle recovered" in said.out
    assert "nothing to mend" in said.out
    assert (folder / "run" / "report.html").stat().st_size > 50_000
    assert (folder / "check" / "check.png").is_file()
    assert (folder / "first" / "latents.npz").is_file()
    assert "components in" in said.err
    assert (folder / "particles" / "truth.npz").is_file()
