"""One file for each change of the tables, in order; a file that was released never changes."""
