"""The fits of several models as jobs: on data that they share, and done several at a time, on threads or in one pass.

What people call, and what is done with the models afterwards, stands above.
"""
