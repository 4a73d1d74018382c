"""What we must not lose."""
