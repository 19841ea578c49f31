"""Pretraining of the built-in miniature: printed glyphs only, never handwriting.

`make pretrain` draws a corpus from Debian's font packages, then trains, in this order, an autoencoder, a CLIP
and a Stable-Diffusion-shaped UNet that takes CLIP's text tower as its text encoder. It is seeded, takes under
90 minutes on 2 cores, and writes the folders that `datadream.models` ships, with a model card beside them.

This package is for making the weights; nothing in the product imports it.
"""
