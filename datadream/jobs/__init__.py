"""Jobs: a spec becomes a folder, a worker turns it into an artifact, a run ties artifacts to a method."""
