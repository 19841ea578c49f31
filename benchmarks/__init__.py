"""Hot paths as ratios, each with a parity check: `make bench`."""
