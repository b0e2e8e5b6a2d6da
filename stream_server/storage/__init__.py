"""The database: its file, its schema, its history."""
