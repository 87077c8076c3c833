"""Attackers (photos -> what a thief gets from them): one file, one paper."""
