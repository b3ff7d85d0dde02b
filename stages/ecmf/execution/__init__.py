"""Apply a function to every clip: processes, devices, a Ray cluster, the cache of results.

It decides where and when a result is computed, never its value, so no stage depends on it.
"""
