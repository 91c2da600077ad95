"""What a machine offers a fit, and what to mend before a long run: `vitreous doctor`."""
