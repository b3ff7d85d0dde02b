"""Providers of enriched text: one file is one way to get it (`enrich_text.provider`).

Prompts, retries, budgets and the schema of a response are in `enrichment`.
"""
