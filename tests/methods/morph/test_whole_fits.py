"""What a fit makes of the standard pair in every guise: symmetric, noisy, masked, in series."""

import json
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial import KDTree
from test_morph_commands import run
from two_domains import lay, two_domains

from vitreous.maps import Map, write_map
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.course import FitResult
from vitreous.methods.morph.fit import fit_morph
from vitreous.methods.morph.flow import carry_points
from vitreous.methods.morph.predict import push_frames
from vitreous.methods.morph.prepare import Problem, prepare_morph
from vitreous.methods.morph.scores import HalfMapScore, correlation

BOX = (32, 32, 32)
HERE = 16.0


def fit(source: Map, targets: list[Map], **settings) -> tuple[Problem, FitResult]:
    config = MorphConfig(**settings)
    problem = prepare_morph(source, targets, config)
    return problem, fit_morph(problem, config)


def ends(result: FitResult, atoms: np.ndarray) -> np.ndarray:
    flow = result.flow
    return carry_points(flow.velocity, atoms.astype(np.float32), [1.0], flow.steps)[0]


def rmse(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(((found - truth) ** 2).sum(-1).mean()))


def test_a_symmetric_pair_flows_symmetrically():
    before, after, _ = two_domains(seed=3)

    def dimer(atoms):
        one = atoms * 0.75 + (5.5, 0, 0)
        return np.concatenate([one, one * (-1, -1, 1)]) + HERE

    source, target = lay(dimer(before), BOX), lay(dimer(after), BOX)
    problem, result = fit(source, [target], symmetry="C2", iterations=60)
    frame = push_frames(result.flow, problem.source, [1.0])[0]
    assert correlation(problem.source.data, problem.targets[0].data) < 0.93
    assert correlation(frame, problem.targets[0].data) >= 0.99
    end = ends(result, dimer(before)) - HERE
    one, other = end[:200], end[200:]
    # float32 over coordinates of up to 32 Å and twelve evaluations of the field.
    np.testing.assert_allclose(other, one * (-1, -1, 1), atol=2e-5)


def test_half_maps_stop_a_fit_before_it_follows_the_noise():
    # Noise of 18 % of the brightest voxel: a cut through it takes the target's shape away, and the
    # flow once led further from the half map that was not fitted than no flow at all.
    before, after, moves = two_domains()
    source, truth = lay(before + HERE, BOX), lay(after + HERE, BOX)
    rng = np.random.default_rng(0)
    halves = [
        Map(truth.data + rng.normal(0, 0.18 * truth.data.max(), BOX).astype(np.float32), 1.0)
        for _ in range(2)
    ]
    config = MorphConfig(iterations=150, period=10, patience=2)
    problem = prepare_morph(source, halves[:1], config)
    assert 0 < problem.target_blurs[0] < 2
    score = HalfMapScore(problem.source, problem.targets[0], *halves)
    stopped = fit_morph(problem, config, validate=score)
    to_the_end = fit_morph(problem, replace(config, patience=100), validate=score)
    first, last = (to_the_end.scores[i][1] for i in (0, -1))
    assert stopped.iterations < to_the_end.iterations == 150
    assert score(stopped.flow) >= last > first + 0.03
    end = ends(stopped, before + HERE) - HERE
    assert rmse(end[moves], after[moves]) < 0.35 * rmse(before[moves], after[moves])


def write_model(path: Path, atoms: np.ndarray) -> None:
    structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for number, position in enumerate(atoms, 1):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        atom.name, atom.element = "CA", gemmi.Element("C")
        atom.pos = gemmi.Position(*map(float, position))
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.make_mmcif_document().write_file(str(path))


def read_atoms(path: Path) -> np.ndarray:
    return np.array([a.atom.pos.tolist() for a in gemmi.read_structure(str(path))[0].all()])


def test_a_model_rides_between_unlike_boxes_past_a_masked_distractor(tmp_path):
    before, after, moves = two_domains()
    place = np.array([40.0, -7.0, 12.0])
    source = lay(before + place, (30, 28, 32), 1.0, (25.0, -21.0, -3.0))
    target = lay(after + place, (38, 34, 44), 0.85, (23.0, -22.0, -4.0))
    rng = np.random.default_rng(1)
    stranger = lay(
        rng.normal(0, 1.5, (150, 3)) + place + (11.0, 0.0, -4.0),
        target.data.shape, 0.85, target.origin,
    )  # fmt: skip
    mask = lay(after + place, (36, 34, 36), 1.2, (20.0, -27.0, -8.0), 1.5).data > 0.15
    write_map(tmp_path / "a.mrc", source.data, 1.0, source.origin)
    write_map(tmp_path / "b.mrc", target.data + stranger.data, 0.85, target.origin)
    write_map(tmp_path / "mask.mrc", mask.astype(np.float32), 1.2, (20.0, -27.0, -8.0))
    write_model(tmp_path / "a.cif", before + place)
    words = ("-i0", tmp_path / "a.mrc", "-i1", tmp_path / "b.mrc", "-d", tmp_path / "out")
    options = ("-m1", tmp_path / "mask.mrc", "-n", 150, "--no-report")
    assert run("morph-train", *words, *options) == 0
    words = ("-i", tmp_path / "a.mrc", "-w", tmp_path / "out" / "net.pt", "-d", tmp_path / "p")
    assert run("morph-predict", *words, "--n-frames", 2, "--model", tmp_path / "a.cif") == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["correlation"] >= 0.99
    np.testing.assert_allclose(
        read_atoms(tmp_path / "p" / "model_00.cif"), before + place, atol=2e-3
    )
    end = read_atoms(tmp_path / "p" / "model_01.cif") - place
    assert rmse(end[moves], after[moves]) < 0.4
    for part in (moves, ~moves):
        # Neighbours in a part that moves as one: bonds, as far as a flow knows.
        pairs = KDTree(before[part]).query_pairs(2.0, output_type="ndarray")
        length = [
            np.linalg.norm(np.diff(x[part][pairs], axis=1)[:, 0], axis=1) for x in (before, end)
        ]
        change = np.abs(length[1] / length[0] - 1)
        assert np.median(change) < 0.02
        assert change.max() < 0.12


@pytest.mark.slow
def test_three_maps_are_reached_in_turn():
    before = two_domains()[0]
    states = [two_domains(angle=angle)[1] for angle in (15, -10, 20)]
    maps = [lay(atoms + HERE, BOX) for atoms in (before, *states)]
    problem, result = fit(maps[0], maps[1:], iterations=200, is_time_dependent=True)
    stops = push_frames(result.flow, problem.source, [1 / 3, 2 / 3, 1.0])
    reached = [correlation(f, t.data) for f, t in zip(stops, problem.targets, strict=True)]
    assert correlation(problem.source.data, problem.targets[2].data) < 0.92
    assert min(reached) >= 0.99
