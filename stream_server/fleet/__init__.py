"""Who is there: agents, dongles, their presence and services."""
