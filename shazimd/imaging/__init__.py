"""Pixels to numbers: decoding, hashes, local features, geometric verification. Loaded by workers only."""
