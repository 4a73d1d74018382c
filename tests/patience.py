"""How long a test waits for a condition: a busy machine needs some of it, only a fault needs all."""

PATIENCE_S = 180.0
