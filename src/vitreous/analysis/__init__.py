"""A latent space and its volumes: components, clusters, paths, pictures, movies, one report."""
