"""Formats in which other toolkits publish features; each file reads one format.

`importing` matches ids to the manifest and writes the archive.
"""
