"""Worker processes: pictures are decoded and compared there, never in the daemon."""
