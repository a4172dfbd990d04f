"""Everything a run can be told, and its check against method and data."""
