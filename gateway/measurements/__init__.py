"""What was measured: read from a task's products, indexed, and found again across tasks."""
