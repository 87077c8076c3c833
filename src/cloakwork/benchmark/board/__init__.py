"""The board: one entry a protection, what was measured of it, and the page of all entries."""
