"""What runs beside Ray: Prometheus and Grafana, their provisioning, and the checks that find what is wrong.

Nothing here runs in a training process, except `start_stack`, which `raymon train --stack` calls before Ray starts.
"""
