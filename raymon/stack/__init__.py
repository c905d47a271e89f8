"""Prometheus and Grafana next to Ray: starting, stopping, provisioning, and the checks of `raymon doctor`.

Nothing here runs in a training process, except `start_stack`, which `raymon train --stack` calls before Ray starts.
"""
