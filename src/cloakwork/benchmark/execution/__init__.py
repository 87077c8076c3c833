"""Where a benchmark's steps run: here one after the other, or on a Ray cluster."""
