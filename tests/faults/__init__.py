"""Tools that make things go wrong, and the mutation check."""
