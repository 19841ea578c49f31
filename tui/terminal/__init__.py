"""The terminal: what it can show, copy and remember."""
