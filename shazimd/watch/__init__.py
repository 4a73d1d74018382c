"""Which files changed and have come to rest: inotify or polling per root, filters, settling."""
