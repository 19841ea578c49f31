"""Marks on a grid of cells; no widget inside."""
