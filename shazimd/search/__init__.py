"""Queries: candidates, verification, verdicts, groups of duplicates."""
