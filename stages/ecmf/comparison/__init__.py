"""Compare the predictions of several revisions on the same test clips.

It reads what `evaluation` wrote; no model is loaded. Scores are in `metrics`.
"""
