"""DataDream: from a handful of labelled photos to a better image classifier."""

__version__ = "0.1.0"
