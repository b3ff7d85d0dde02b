"""Text encoders: from a transcript (raw, enriched, in its dialogue) to a row, or to its tokens."""
