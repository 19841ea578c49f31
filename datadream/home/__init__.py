"""What lies on disk and nothing else: a home with its jobs, artifacts, sets, records and locks."""
