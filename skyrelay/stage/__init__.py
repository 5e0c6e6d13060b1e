"""What turns a science function into a stage service."""
