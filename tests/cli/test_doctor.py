"""`doctor` finds what it is shown, and says what to do."""

import json
from types import SimpleNamespace

import pytest

from vitreous.doctor import host
from vitreous.doctor.findings import Finding


def test_a_fine_machine(run, tmp_path):
    status, out, err = run(
        "doctor", "--folder", tmp_path, "--seconds", 0, "--disk-size", 1, "--json"
    )
    assert (status, err) == (0, [])
    report = json.loads(out)
    assert report["fine"]
    found = {finding["name"]: finding for finding in report["findings"]}
    assert found["precision"]["figures"]["float32"] < 1e-6
    assert found["disk"]["figures"]["write_bytes_per_second"] > 0
    assert found["processes"]["figures"]["count"] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_mend_is_said_and_gives_status_1(run, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "free_host_memory", lambda: 1 << 28)
    status, out, _ = run("doctor", "--folder", tmp_path, "--seconds", 0, "--disk-size", 1)
    assert status == 1
    line = next(line for line in out.splitlines() if line.startswith("mend"))
    assert "0.2 GiB free" in line
    assert "--mem" in line


def test_a_full_disk_is_seen_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    finding = host.check_disk(tmp_path)
    assert finding.state == "mend"
    assert list(tmp_path.iterdir()) == []


def test_gpus_that_jax_does_not_use(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.65.06, 143771 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert "cuda" in host.check_driver("cpu").advice
    assert host.check_driver("gpu").state == "ok"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert host.check_driver("gpu").state == "mend"


def test_a_mend_without_advice_is_refused():
    with pytest.raises(ValueError, match="say what to do"):
        Finding("disk", "full", "mend")
