"""Who does it: the runner that schedules, its workers, and the clusters it hands jobs to."""

from datadream.home import queue as queue  # its place until 0.4; scripts import it from here
