"""What the report is made of: rows of its tables, figures, pictures, pages, and the blind comparison with its analysis."""
