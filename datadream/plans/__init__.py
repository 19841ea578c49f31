"""From what is asked for to runs and their jobs: request, grid, submission, estimate."""
