"""Find, ask, start and join a Ray cluster."""
