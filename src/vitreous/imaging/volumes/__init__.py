"""What is imaged: densities on grids, Gaussians, atoms, functions, and what is built of them."""
