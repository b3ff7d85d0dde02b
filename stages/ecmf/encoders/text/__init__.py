"""Encoders of text: a transcript, raw, enriched or in its dialogue, in; one row out."""
