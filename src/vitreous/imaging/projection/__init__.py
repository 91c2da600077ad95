"""From volumes to projections."""
