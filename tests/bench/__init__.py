"""The benchmark itself, at a tiny size."""
