"""Pixels to numbers: decoding, hashes, the feature vector, local features, and the processes that do the work."""
