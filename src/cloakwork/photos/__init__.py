"""Photos: files, formats, metadata, sets, masks, what a loader does to them, sheets."""
