"""Commands that work with logs and databases."""
