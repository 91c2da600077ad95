"""Where a flexible fit begins: Gaussians on a map or structure, and maps that were followed."""
