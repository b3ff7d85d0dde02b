"""Text encoders: from a transcript (raw, enriched or with its dialogue) to one row."""
