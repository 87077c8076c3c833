"""Each command as a function: folders in, folders out."""
