"""Purifiers (photos -> photos, without the protection if they can): one file, one paper."""
