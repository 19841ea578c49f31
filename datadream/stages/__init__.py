"""Adapt, generate, classify: pure functions from a settings object and inputs to files in a folder."""
