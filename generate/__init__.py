"""Generated from catalogue, query book and thresholds: dashboards, rules, Kubernetes objects, metric reference.

Run `python -m generate` to write them again, with `--check` to compare. Used at build, never in a job.
"""
