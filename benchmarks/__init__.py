"""How fast is Skyrelay, and beside what?"""
