"""`raymon train`: options, host, records, engines."""
