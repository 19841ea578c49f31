"""Lists of everything a home holds."""
