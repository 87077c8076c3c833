"""Experiments as cached steps: what is compared, where results are kept, how sure they are."""
