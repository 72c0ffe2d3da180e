"""What is installed here, whether it works, and how to mend it: the data behind ``backends`` and ``doctor``.

What belongs here looks and reports; it changes nothing and chooses nothing.
"""
