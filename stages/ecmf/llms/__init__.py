"""Enrich transcripts; each file is a provider (`enrich_text.provider`).

Prompts, retries, budgets and the schema of a response are in `enrichment`.
"""
