"""Exact search for all contents with a score from a threshold on; every file can be rebuilt from the store."""
