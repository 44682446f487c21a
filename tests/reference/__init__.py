"""A slow, plain Python twin of what _native decodes: the oracle of the tests.

It shares no line with faustc but its exceptions.
"""
