"""Evidence when a run is in trouble: incidents, recordings, post-mortem, and the watch that collects them."""
