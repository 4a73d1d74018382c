"""The operating system: files, locks, mounts, memory, processes, the service manager."""

POLL_MAX_S = 24 * 86_400
"""Longest call of poll(2), which takes milliseconds as a C int."""
