"""Providers of emotional cues for a transcript, a lexicon or a language model, one file each.

Prompts, retries, budgets and the schema of a response are in `enrichment`.
"""
