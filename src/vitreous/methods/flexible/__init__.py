"""Gaussians that move: one model of a molecule, bent for every image."""
