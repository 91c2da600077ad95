"""What a fit minimises: how far the carried density is from its targets, and the strain it takes.

The distance depends on the points only through the density they make. Its derivative by that
density is a field on the grid, and the mass-weighted mean of the field at the points has the
gradient wanted: nothing is differentiated through the transport or the splat.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vitreous.methods.morph.cloud import read_at, splat
from vitreous.methods.morph.flow import Scheme, carry
from vitreous.methods.morph.mesh import inversion_barrier, strain_energy, tetrahedron_gradients
from vitreous.methods.morph.sinkhorn import peer_transport, sinkhorn, transport_cost
from vitreous.methods.morph.velocity import Triple, Velocity

Distance = Literal["transport", "squares", "peer transport", "peer squares"]


class Setting(NamedTuple):
    """Hold what is fixed while a level compiles; see `Level` and `MorphConfig`.

    `strain` and `barrier` weigh the mesh terms, in the unit of the distance; 0 leaves them out.
    """

    distance: Distance
    voxel: float
    origin: Triple
    iterations: int
    reach: int | None
    scheme: Scheme
    steps: int
    strain: float
    barrier: float
    mesh_side: float


class Data(NamedTuple):
    """Hold the arrays of a level: points and masses, targets, mesh."""

    points: Float[Array, "m 3"]
    mass: Float[Array, " m"]
    targets: Float[Array, "k z y x"]
    vertices: Float[Array, "v 3"]
    cells: Int[Array, "c 8"]


def distance_field(
    density: Float[Array, "z y x"],
    target: Float[Array, "z y x"],
    epsilon: Float[Array, ""],
    setting: Setting,
) -> tuple[Float[Array, "z y x"], Float[Array, ""]]:
    """Give the derivative of the distance by the density, and the distance.

    `transport` is the debiased divergence in Å²; `squares` the squared difference as a share of
    the target's square. The peer's are in its own units.
    """
    if setting.distance == "transport":
        p = sinkhorn(density, target, setting.voxel, epsilon, setting.iterations, setting.reach)
        return p.f - p.source_self, transport_cost(p, density, target)
    difference = density - target
    if setting.distance == "squares":
        norm = jnp.sum(target * target)
        return 2 * difference / norm, jnp.sum(difference * difference) / norm
    if setting.distance == "peer squares":
        return 2 * difference, jnp.sum(difference * difference)
    sharpness = 1 / (epsilon * max(density.shape) ** 2)
    return peer_transport(density, target, sharpness, epsilon, setting.iterations)


def objective(
    velocity: Velocity, data: Data, epsilon: Float[Array, ""], setting: Setting
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Evaluate a flow: targets lie at equal times from 1/k to 1.

    **Returns:** a scalar with the right gradient (its value means nothing), and the values:
    `loss`, `distance`, `strain`, `barrier`.
    """
    count = len(data.targets)
    substeps = max(2 if count > 1 else 1, -(-setting.steps // count))
    has_mesh = setting.strain > 0 or setting.barrier > 0
    # Strain needs no more than two Runge–Kutta steps; Euler's few are the peer's flow itself.
    mesh_steps = min(substeps, 2) if setting.scheme == "rk4" else substeps
    x, vertices = data.points, data.vertices
    surrogate = jnp.zeros(())
    distance, strain, barrier = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
    _, nz, ny, nx = data.targets.shape
    shape = (nz, ny, nx)
    for k in range(count):
        x = carry(velocity, x, k / count, (k + 1) / count, substeps, setting.scheme)
        density = splat(jax.lax.stop_gradient(x), data.mass, shape, setting.voxel, setting.origin)
        field, value = distance_field(density, data.targets[k], epsilon, setting)
        field = jax.lax.stop_gradient(field)
        at_points = read_at(field, x, setting.voxel, setting.origin)
        surrogate = surrogate + jnp.sum(data.mass * at_points) / count
        distance = distance + value / count
        if has_mesh:
            vertices = carry(
                velocity, vertices, k / count, (k + 1) / count, mesh_steps, setting.scheme
            )
            f = tetrahedron_gradients(vertices, data.cells, setting.mesh_side)
            strain = strain + jnp.mean(strain_energy(f)) / count
            barrier = barrier + jnp.mean(inversion_barrier(f)) / count
    mesh_terms = setting.strain * strain + setting.barrier * barrier
    values = {"loss": distance + mesh_terms, "distance": distance}
    return surrogate + mesh_terms, values | {"strain": strain, "barrier": barrier}
