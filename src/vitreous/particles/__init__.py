"""Files in, files out: every format of the field as one `ParticleTable`, and images by index."""

from vitreous.maps import Map, read_map, write_map
from vitreous.particles.peer_pickles import (
    read_ctf_pickle,
    read_index,
    read_latent_pickle,
    read_pose_pickle,
    save_ctf_pickle,
    save_index_pickle,
    save_latent_pickle,
    save_pose_pickle,
)
from vitreous.particles.pickles import load_pickle, load_pickles, save_pickles
from vitreous.particles.read import read_particles
from vitreous.particles.source import ImageSource, check_finite
from vitreous.particles.stack import StackWriter, write_stack
from vitreous.particles.table import ParticleTable

__all__ = [
    "ImageSource",
    "Map",
    "ParticleTable",
    "StackWriter",
    "check_finite",
    "load_pickle",
    "load_pickles",
    "read_ctf_pickle",
    "read_index",
    "read_latent_pickle",
    "read_map",
    "read_particles",
    "read_pose_pickle",
    "save_ctf_pickle",
    "save_index_pickle",
    "save_latent_pickle",
    "save_pickles",
    "save_pose_pickle",
    "write_map",
    "write_stack",
]
