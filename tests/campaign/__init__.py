"""The campaign: more cases of what the suite tries a few of; see `command`."""
