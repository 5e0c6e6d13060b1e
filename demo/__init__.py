"""The main job, end to end: an observation goes in over HTTP and comes out measured and searched.

It is a user of the API and nothing more; only where the observation is a synthetic one does it
also know the truth, and says how far the results are from it.
"""
