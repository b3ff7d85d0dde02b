"""Run a function on every clip: processes, devices, a Ray cluster, the result cache.

It decides where and when a result is computed, never its value, so `dvc.yaml` lists it nowhere.
"""
