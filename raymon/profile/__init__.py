"""Profile a live run on demand: flame graphs, a timeline of all phases, stragglers, a report.

Runs next to the job. It costs the job what py-spy and a few seconds of recorded phases cost.
"""
