"""The operating system: files, locks, mounts, memory, processes, the service manager."""
