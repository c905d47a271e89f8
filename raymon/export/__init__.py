"""Serve verdicts as metrics: what raymon says about runs and workers, for Prometheus to store."""
