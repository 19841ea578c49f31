"""Where methods differ: each a table of plain functions, which a recipe names and a stage calls.

`starts`: the latents that an image is drawn from. `guidance`: how the two predictions of a step become one. `losses`:
what the classifier minimises. Other packages add to a table by an entry point (`plugs`).
"""
