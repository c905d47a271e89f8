"""`raymon top`: the status page in the terminal."""
