"""Protections (photos -> protected photos): one file, one paper."""
