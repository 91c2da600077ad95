"""Volumes as a linear subspace, fitted by expectation–maximisation."""
