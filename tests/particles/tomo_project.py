"""A RELION 5 project with tilt series of known geometry, derived here with NumPy alone."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitreous.particles import write_stack


def turn(axis, degrees):
    """Right-handed rotation of vectors about x, y or z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def euler(angles):
    """RELION's matrix: the inverse of rotating by rot about z, tilt about y, psi about z."""
    rot, tilt, psi = angles
    return (turn("z", rot) @ turn("y", tilt) @ turn("z", psi)).T


@dataclass
class Tomogram:
    """One tilt series and the particles in it; lengths in Å, angles in degrees."""

    name: str
    angles: np.ndarray
    shifts: np.ndarray
    dose: np.ndarray
    defocus: np.ndarray
    coordinate: np.ndarray
    origin: np.ndarray
    subtomogram: np.ndarray
    orientation: np.ndarray
    visible: np.ndarray
    hand: float = -1.0
    pixel_size: float = 2.0
    size: tuple = (400, 410, 200)
    scale: np.ndarray | None = None

    def rotation(self, tilt):
        x, y, z = self.angles[tilt]
        return turn("z", z) @ turn("y", y) @ turn("x", x)

    def project(self, point, tilt):
        """Where a point of the tomogram lies in a tilt image, and its depth."""
        seen = self.rotation(tilt) @ point
        return seen[:2] + self.shifts[tilt], seen[2]

    def in_tomogram(self, particle, point):
        """A point of the reference, in the tomogram."""
        box = euler(self.subtomogram[particle])
        centre = self.coordinate[particle] - box @ self.origin[particle]
        return centre + box @ euler(self.orientation[particle]) @ np.asarray(point, float)

    def in_image(self, particle, point, tilt):
        """Where a point of the reference lies, from the centre of the particle's image."""
        here, _ = self.project(self.in_tomogram(particle, point), tilt)
        cut, _ = self.project(self.coordinate[particle], tilt)
        return here - cut


def random_tomogram(name="T1", tilts=7, particles=4, seed=0, **changes):
    """Planted geometry without symmetry; tilts in the order of their angle, not of the dose."""
    generator = np.random.default_rng(seed)
    angle = np.linspace(-45, 45, tilts)
    noise = generator.normal(0, 0.5, (tilts, 3))
    angles = np.stack([2 + noise[:, 0], angle + noise[:, 1], 84 + noise[:, 2]], axis=1)
    visible = np.ones((particles, tilts), bool)
    visible[1 % particles, 0] = visible[1 % particles, 3] = False
    values = {
        "angles": angles,
        "shifts": generator.normal(0, 30, (tilts, 2)),
        "dose": 3.0 * np.argsort(np.argsort(np.abs(angle - 1))),
        "defocus": generator.normal(25000, 800, (tilts, 2)),
        "coordinate": generator.uniform(-150, 150, (particles, 3)),
        "origin": generator.normal(0, 3, (particles, 3)),
        "subtomogram": generator.uniform(10, 80, (particles, 3)),
        "orientation": generator.uniform(10, 170, (particles, 3)),
        "visible": visible,
    }
    return Tomogram(name, **values | changes)


@dataclass
class Project:
    """Write tomograms as RELION 5 does; `layout` "relion4" puts matrices in place of angles."""

    root: Path
    tomograms: list
    box: int = 8
    layout: str = "relion5"
    image: object = None
    optics: dict = field(default_factory=dict)

    def write(self):
        self.particles = self.root / "Extract" / "job003" / "particles.star"
        self.tomogram_file = self.root / "Tomograms" / "job002" / "tomograms.star"
        self.set_file = self.particles.parent / "optimisation_set.star"
        self.particles.parent.mkdir(parents=True)
        (self.tomogram_file.parent / "tilt_series").mkdir(parents=True)
        self._write_particles()
        self._write_tomograms()
        self.set_file.write_text(
            "data_\n\n_rlnTomoParticlesFile   Extract/job003/particles.star\n"
            "_rlnTomoTomogramsFile   Tomograms/job002/tomograms.star\n"
        )
        return self

    def _write_particles(self):
        optics = {
            "OpticsGroup": [1],
            "OpticsGroupName": ["opticsGroup1"],
            "Voltage": [300.0],
            "SphericalAberration": [2.7],
            "AmplitudeContrast": [0.1],
            "ImagePixelSize": [4.0],
            "ImageSize": [self.box],
            **self.optics,
        }
        rows = []
        for tomogram in self.tomograms:
            for p, visible in enumerate(tomogram.visible):
                tilts = np.flatnonzero(visible)
                name = f"Extract/job003/Subtomograms/{tomogram.name}/{p + 1}_stack2d.mrcs"
                images = [self._image(tomogram, p, t) for t in tilts]
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                write_stack(self.root / name, np.stack(images), 4.0)
                shown = "[" + ",".join(str(int(flag)) for flag in visible) + "]"
                cells = [tomogram.name, f"{tomogram.name}/{p + 1}", name, shown, 1, 1 + p % 2]
                cells += [*tomogram.origin[p], *tomogram.subtomogram[p], *tomogram.orientation[p]]
                rows.append(cells + self._coordinates(tomogram, p))
        columns = [
            "TomoName", "TomoParticleName", "ImageName", "TomoVisibleFrames", "OpticsGroup",
            "RandomSubset", "OriginXAngst", "OriginYAngst", "OriginZAngst", "TomoSubtomogramRot",
            "TomoSubtomogramTilt", "TomoSubtomogramPsi", "AngleRot", "AngleTilt", "AnglePsi",
        ]  # fmt: skip
        kind = "Coordinate{}" if self.layout == "relion4" else "CenteredCoordinate{}Angst"
        columns += [kind.format(axis) for axis in "XYZ"]
        self.particles.write_text(
            "data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n"
            + loop("optics", list(optics), [[column[0] for column in optics.values()]])
            + loop("particles", columns, rows)
        )

    def _coordinates(self, tomogram, p):
        if self.layout != "relion4":
            return list(tomogram.coordinate[p])
        centre = np.array(tomogram.size) // 2
        return list(tomogram.coordinate[p] / tomogram.pixel_size + centre)

    def _image(self, tomogram, particle, tilt):
        if self.image is None:
            return np.full((self.box, self.box), 10.0 * particle + tilt, np.float32)
        return self.image(tomogram, particle, tilt)

    def _write_tomograms(self):
        rows, blocks = [], ""
        columns = ["TomoName", "TomoHand", "TomoTiltSeriesPixelSize", "Voltage"]
        columns += ["SphericalAberration", "AmplitudeContrast"]
        columns += [f"TomoSize{axis}" for axis in "XYZ"]
        if self.layout == "relion5":
            columns.append("TomoTiltSeriesStarFile")
        for tomogram in self.tomograms:
            row = [tomogram.name, tomogram.hand, tomogram.pixel_size, 300.0, 2.7, 0.1]
            name = f"Tomograms/job002/tilt_series/{tomogram.name}.star"
            rows.append([*row, *tomogram.size, *([name] if self.layout == "relion5" else [])])
            block = self._tilts(tomogram)
            if self.layout == "relion5":
                (self.root / name).write_text(block)
            else:
                blocks += block
        self.tomogram_file.write_text(loop("global", columns, rows) + blocks)

    def _tilts(self, tomogram):
        columns = ["DefocusU", "DefocusV", "DefocusAngle", "MicrographPreExposure"]
        if tomogram.scale is not None:
            columns.append("CtfScalefactor")
        if self.layout == "relion5":
            columns += ["TomoXTilt", "TomoYTilt", "TomoZRot", "TomoXShiftAngst", "TomoYShiftAngst"]
        else:
            columns += [f"TomoProj{axis}" for axis in "XYZW"]
        rows = []
        for t in range(len(tomogram.angles)):
            row = [*tomogram.defocus[t], 20.0, tomogram.dose[t]]
            if tomogram.scale is not None:
                row.append(tomogram.scale[t])
            if self.layout == "relion5":
                row += [*tomogram.angles[t], *tomogram.shifts[t]]
            else:
                row += [f"[{','.join(map(repr, line))}]" for line in self._matrix(tomogram, t)]
            rows.append(row)
        return loop(tomogram.name, columns, rows)

    def _matrix(self, tomogram, tilt):
        """From tomogram pixels, counted from the corner, to those of the tilt image."""
        matrix = np.eye(4)
        matrix[:3, :3] = tomogram.rotation(tilt)
        matrix[:2, 3] = tomogram.shifts[tilt] / tomogram.pixel_size + 200
        corner = np.eye(4)
        corner[:3, 3] = -(np.array(tomogram.size) // 2)
        return (matrix @ corner).tolist()


def loop(name, columns, rows):
    """A STAR loop."""
    text = f"data_{name}\n\nloop_\n" + "".join(f"_rln{column}\n" for column in columns)
    cells = (" ".join(str(cell) for cell in row) for row in rows)
    return text + "\n".join(cells) + "\n\n"
