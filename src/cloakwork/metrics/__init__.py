"""Metrics (images -> scores): one file each."""
