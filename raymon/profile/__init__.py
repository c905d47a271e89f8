"""Profiling on demand: flame graphs of live processes, a timeline of their phases, who holds the others up, a report.

Runs when somebody asks, beside the job. What it costs the job is what py-spy and some seconds of noted phases cost.
"""
