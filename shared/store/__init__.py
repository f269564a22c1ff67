"""MongoDB: one module per collection, and every query on it stands there."""
