"""The gateway: tasks and their state, the API, and the orchestration of runs."""
