"""The registry's place: an SQLite index of every artifact, which can be rebuilt from a home's folders.

Empty for now: runs and artifacts are found by their folders (`datadream.jobs`).
"""
