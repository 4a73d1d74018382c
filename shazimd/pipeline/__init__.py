"""The order of the work, nothing else: a file's way in, a query's way through, the comparison with the disk."""
