"""A service for programs: photos come over HTTP, and protected ones go back."""
