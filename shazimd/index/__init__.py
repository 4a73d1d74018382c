"""What we can rebuild: finds every row whose score may reach a threshold."""
