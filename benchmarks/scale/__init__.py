"""What does scaling by the length of a queue cost, and is work ever lost?"""
