"""One module per area: a METRICS table and a function."""
