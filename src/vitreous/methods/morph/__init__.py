"""Carry one map onto another by a flow of space: a neural ordinary differential equation."""
