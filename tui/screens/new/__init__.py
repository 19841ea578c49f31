"""A new experiment, and a new set."""
