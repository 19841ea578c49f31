"""Jobs on a cluster: Slurm, PBS, LSF and Flux."""
