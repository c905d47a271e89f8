"""Generated from catalogue, query book and thresholds: dashboards, rules, Kubernetes objects, metric reference.

Run as `python -m generate` to write them anew, with `--check` to compare. Used at build, never in a job.
"""
