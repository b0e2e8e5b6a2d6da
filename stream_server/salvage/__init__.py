"""What can be read of a damaged recording goes into the new one, and what cannot is said."""
