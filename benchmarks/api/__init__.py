"""How many requests a second does the API answer, with 100,000 tasks in its database?"""
