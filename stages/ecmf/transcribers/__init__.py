"""Transcribers of clips without a transcript, one file each.

Their interface, the cache and the checks of recognised words are in `transcription`.
"""
