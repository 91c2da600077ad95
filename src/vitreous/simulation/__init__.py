"""Structures to particle sets with known truth."""

from vitreous.simulation.layout import Shard
from vitreous.simulation.micrograph_options import MicrographOptions
from vitreous.simulation.micrographs import simulate_micrographs
from vitreous.simulation.optics import Optics
from vitreous.simulation.particles import missing_parts, simulate_particles
from vitreous.simulation.phantom import Hinge, hinge_phantom
from vitreous.simulation.population import ParticleOptions
from vitreous.simulation.specimen import HingeMotion, MapStates, Specimen
from vitreous.simulation.structures import box_for_structure, fit_map, state_maps

__all__ = [
    "Hinge",
    "HingeMotion",
    "MapStates",
    "MicrographOptions",
    "Optics",
    "ParticleOptions",
    "Shard",
    "Specimen",
    "box_for_structure",
    "fit_map",
    "hinge_phantom",
    "missing_parts",
    "simulate_micrographs",
    "simulate_particles",
    "state_maps",
]
