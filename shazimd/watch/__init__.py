"""Watching: reports changed files in the roots."""
