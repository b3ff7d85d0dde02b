"""Recognise the words of clips without a transcript, and reject those that a model invented.

The transcribers themselves are in `transcribers`; the records they produce are defined in `data`.
"""
