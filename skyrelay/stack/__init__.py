"""How does the whole of Skyrelay run on one machine, without Docker?"""
