"""What a group makes of this gateway's dongles: whose frames are carried for it, and what it lets be sent."""
