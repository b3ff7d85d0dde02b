"""Layouts in which other toolkits publish features; one file reads one layout.

Matching ids to the manifest and writing the archive is the business of `importing`.
"""
