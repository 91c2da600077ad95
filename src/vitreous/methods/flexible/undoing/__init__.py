"""What undoes motion: backprojection along the field, its inverse, and maps that are deformed."""
