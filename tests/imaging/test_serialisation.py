"""Every public class of imaging goes to JSON and back; nothing else comes out of a file."""

import importlib
import json
import pkgutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from microscope import molecule, poses

import vitreous.imaging
from vitreous.errors import InputError
from vitreous.imaging import (
    Assembly,
    AtomVolume,
    ContinuousEnsemble,
    DiscreteEnsemble,
    FourierVolume,
    NeuralVolume,
    Volume,
    VoxelVolume,
)
from vitreous.imaging.atoms import Atoms
from vitreous.imaging.ctf import CTFParameters
from vitreous.imaging.detector import Detector
from vitreous.imaging.exposure import Exposure
from vitreous.imaging.filters import ExponentialDecay, GaussianFilter, Lorentzian, LowPass, Sinc
from vitreous.imaging.fourier_grid import GridShape
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce
from vitreous.imaging.image_model import ImageModel
from vitreous.imaging.masks import CylinderMask, RectangleMask, RoundMask, SquareMask
from vitreous.imaging.noise import GaussianNoise
from vitreous.imaging.operators import Constant, Custom, Operator, Sampled, Tabulated
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.parameters import (
    Frozen,
    LogParameter,
    ScaledParameter,
    TangentRotation,
    Transform,
)
from vitreous.imaging.serialisation import dump, from_json, load, to_json
from vitreous.imaging.serialisation.classes import CLASSES


def examples() -> dict[str, object]:
    """Make one of each class that a file may name."""
    blob, ring = molecule(), GaussianFilter(20.0, 0.1)
    density = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    voxels, fourier = VoxelVolume(density, 2.0), FourierVolume.of(density, 2.0)
    atoms = Atoms(
        density[0, :2, :3],
        np.array([6, 8], np.int32),
        np.ones(2, np.float32),
        np.ones(2, np.float32),
    )
    optics = Optics(
        np.array([1e4, 2e4]),
        dose=3.0,
        beam_tilt=[0.1, 0.2],
        magnification=np.eye(2),
        contrast="dark",
    )
    ensemble, moving = DiscreteEnsemble([fourier, fourier]), ContinuousEnsemble(ring)
    model = ImageModel(
        blob,
        poses(2),
        ImageGrid(8, 2.0),
        optics,
        ice=GaussianIce(300.0),
        noise=GaussianNoise(2 * ring + 1),
        filter=LowPass(0.1, 0.02),
        mask=RoundMask(9.0, 3.0),
        theory="eikonal",
    )
    made = [
        *(model, model.pose, model.grid, optics, model.ice, model.noise, model.filter, model.mask),
        *(Exposure(20.0), Detector("gaussian", ring, 0.5), Constant(2.0), ring + 1, 2 * ring),
        *(ring**-0.5, Tabulated(np.arange(3.0), np.array([1.0, np.inf, np.nan])), ring),
        *(Sampled(np.ones((2, 3))), Lorentzian(2.0), ExponentialDecay(3.0), Sinc(2.0)),
        *(SquareMask(3.0), RectangleMask(np.ones(2)), CylinderMask(4.0, 30.0)),
        *(LogParameter(1.0), ScaledParameter.of(jnp.ones(2), 3.0), Frozen(jnp.arange(3))),
        *(TangentRotation.of(jnp.eye(3)), fourier.grid, GridShape(6, 1), optics.parameters()),
        *(
            blob.gaussians,
            voxels,
            fourier,
            blob,
            AtomVolume.of(atoms),
            Assembly.symmetric(blob, "D2"),
        ),
        *(NeuralVolume(ring, 8, 2.0), ensemble, moving, ensemble.at(1)),
    ]
    return {type(one).__name__: one for one in made}


EXAMPLES = examples()


def same(first: object, second: object) -> bool:
    """Compare two pytrees bit by bit, NaN equal to NaN."""
    one, other = jax.tree.flatten(first), jax.tree.flatten(second)
    return one[1] == other[1] and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        for a, b in zip(map(np.asarray, one[0]), map(np.asarray, other[0]), strict=True)
    )


def modules_of_imaging() -> set[str]:
    """Find every concrete public module of the package."""
    places = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(vitreous.imaging.__path__, "vitreous.imaging.")
    ]
    found = {
        name
        for place in places
        for name, value in vars(place).items()
        if isinstance(value, type)
        and issubclass(value, eqx.Module)
        and value.__module__ == place.__name__
        and not name.startswith("_")
    }
    return found - {kind.__name__ for kind in (Operator, Transform, Volume)}


def test_no_class_is_forgotten():
    """All but `Custom`, which is code, have a place in the table and an example here."""
    tuples = {"GridShape", "CTFParameters", "GaussianAtoms"}
    assert modules_of_imaging() - {"Custom"} == set(CLASSES) - tuples
    assert set(EXAMPLES) == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_round_trip(name: str, tmp_path):
    original = EXAMPLES[name]
    text = to_json(original)
    assert same(from_json(text), original)
    assert to_json(from_json(text)) == text
    dump(original, tmp_path / "model.json")
    assert same(load(tmp_path / "model.json"), original)
    json.loads(text, parse_constant=pytest.fail)  # no NaN or Infinity, which are not JSON


def test_a_loaded_model_makes_the_same_images(tmp_path):
    model = EXAMPLES["ImageModel"]
    dump(model, tmp_path / "model.json")
    render = eqx.filter_jit(lambda model: model.render())
    np.testing.assert_array_equal(render(load(tmp_path / "model.json")), render(model))


def test_large_arrays_stand_beside_the_json(tmp_path):
    volume = EXAMPLES["VoxelVolume"]
    dump([volume, {"grid": ImageGrid(4, 1.0)}], tmp_path / "a.json", maps=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.0.mrc", "a.json"]
    assert same(load(tmp_path / "a.json"), [volume, {"grid": ImageGrid(4, 1.0)}])
    dump(volume, tmp_path / "b.json")
    assert (tmp_path / "b.npz").is_file()
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"b\.npz: not readable"):
        load(tmp_path / "b.json")
    (tmp_path / "b.npz").unlink()
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "b.json")
    with pytest.raises(InputError, match="load"):
        from_json((tmp_path / "b.json").read_text())


def changed(**changes: object) -> str:
    return json.dumps(json.loads(to_json(ImageGrid(4, 1.0))) | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a model of vitreous"),
        (changed(format="other"), "not a model of vitreous"),
        (changed(version=2), "newer vitreous .format 2, .* up to 1.; update"),
        (changed(model={"class": "os.system", "fields": {}}), "'os.system', which vitreous does"),
        (changed(model={"class": "Custom", "fields": {}}), "'Custom'"),
        (changed(model={"class": "ImageGrid", "fields": {"box": 4}}), "lacks 'pixel_size'"),
        (
            changed(model={"class": "Constant", "fields": {"value": 1.0, "more": 2}}),
            "unknown field 'more'",
        ),
        (changed(model={"call": 1}), "not part of a model"),
        (changed(model={"dtype": "object", "shape": [1], "array": [1]}), "damaged"),
        (changed(model={"dtype": "float32", "shape": [3], "array": [1]}), "damaged"),
        (changed(model={"dtype": "float32"}), "damaged"),
    ],
)
def test_what_is_refused(text: str, message: str):
    with pytest.raises(InputError, match=message) as error:
        from_json(text)
    assert "\n" not in str(error.value)


def test_files_elsewhere_are_refused(tmp_path):
    node = {"dtype": "float32", "shape": [1], "file": "../secret.npz", "key": "a"}
    (tmp_path / "m.json").write_text(changed(model=node))
    with pytest.raises(InputError, match="does not stand beside"):
        load(tmp_path / "m.json")
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Custom(jnp.sin), "a Custom cannot be written"),
        (lambda: NeuralVolume(lambda x: x[:, 0], 8, 1.0), r"model\.function: a _Plain cannot"),
        (lambda: (jax.random.key(0),), "random key"),
    ],
)
def test_code_is_not_written(model, message: str):
    with pytest.raises(InputError, match=message):
        to_json(model())


def test_parameters_are_tuples_by_name():
    assert isinstance(from_json(to_json(EXAMPLES["CTFParameters"])), CTFParameters)
