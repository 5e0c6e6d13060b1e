"""How do messages travel: which queues there are, how to publish, how to consume."""
