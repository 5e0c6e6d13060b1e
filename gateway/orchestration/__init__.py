"""What decides what happens next to a run, and makes it known."""
