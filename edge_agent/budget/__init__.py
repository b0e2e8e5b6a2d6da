"""The byte budget of a day: what is still sent of it, counted and kept."""
