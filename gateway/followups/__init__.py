"""What follows when something has happened: done in a process of its own, so that no run waits."""
