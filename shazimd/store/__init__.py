"""The store: files, contents and alerts, durably on the disk."""
