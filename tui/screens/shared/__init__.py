"""Screens that several others open."""
