"""Ab initio: poses and conformations from images alone."""
