"""Rigid parts: how they turn, where they are, and their files."""
