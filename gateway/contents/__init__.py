"""What is in a file, for people who look at it: its kind, its headers, its rows."""
