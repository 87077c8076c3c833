"""A page on one's own machine: photos dropped in a browser, protected by the same workflows."""
