"""Enrich transcripts: measure nonverbal cues, prompt a chat model, validate its responses.

The providers themselves are in `llms`; the records they produce are defined in `data`.
"""
