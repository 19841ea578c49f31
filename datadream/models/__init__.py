"""Backbones: presets, loading Stable Diffusion and CLIP, LoRA, merging, device, dtype and seeds."""
