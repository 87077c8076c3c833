"""Families of latent diffusion models: what differs between them, one file each."""
