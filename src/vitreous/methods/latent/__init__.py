"""Volumes as a neural field of (frequency, latent): VAE, autodecoder and homogeneous fits."""
