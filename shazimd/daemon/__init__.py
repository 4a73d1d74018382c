"""The running daemon: built, started, reloaded, stopped."""
