"""What the commands of agent and server share: their table, help, completion, and how they end."""
