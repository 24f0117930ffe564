"""The configuration: what may be said, how it is said, and how it is gathered.

``addresses`` and ``names`` read the small values, ``model`` is the whole as frozen objects,
``load`` gathers it from file, environment and flags, ``problems`` puts faults into words.
"""
