"""The report of a benchmark: one offline page, tables, a blind comparison, plain data."""
