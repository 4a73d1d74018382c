"""A file on its way into the store, and the comparison of the store with the disk."""
