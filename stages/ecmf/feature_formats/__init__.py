"""Formats in which other toolkits publish features; one file reads one format.

Matching ids to the manifest and writing the archive is done in `importing`.
"""
