"""Real servers, real clients: nothing here is a fake but the names of the domains."""
