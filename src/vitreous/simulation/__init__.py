"""Structures to particle sets with known truth."""

from vitreous.simulation.optics import Optics
from vitreous.simulation.particles import simulate_particles
from vitreous.simulation.phantom import Hinge, hinge_phantom
from vitreous.simulation.population import ParticleOptions
from vitreous.simulation.specimen import HingeMotion, MapStates, Specimen
from vitreous.simulation.structures import fit_map, state_maps

__all__ = [
    "Hinge",
    "HingeMotion",
    "MapStates",
    "Optics",
    "ParticleOptions",
    "Specimen",
    "fit_map",
    "hinge_phantom",
    "simulate_particles",
    "state_maps",
]
