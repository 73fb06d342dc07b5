"""What `make run` shows: two sites and a name server on loopback."""
