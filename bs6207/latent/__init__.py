"""How many numbers does a digit need before the ten classes separate?"""
