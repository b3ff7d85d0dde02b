"""Ways to enrich a transcript with emotional cues."""
