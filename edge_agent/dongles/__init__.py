"""The configured dongles: where each is plugged in, how its frames get into lanes."""
