"""The task store in a bucket: see `skyrelay.store.s3.tasks`."""
