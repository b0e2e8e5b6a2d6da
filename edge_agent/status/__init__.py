"""How everything stands, told to the server and on this machine."""
