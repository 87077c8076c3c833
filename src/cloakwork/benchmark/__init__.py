"""Benchmarks: grids of protections and attackers, recipes, results, flags, execution, report."""
