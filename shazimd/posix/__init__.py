"""The operating system: files, mounts, memory, processes, the service manager."""
