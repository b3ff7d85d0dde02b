"""Render the report of a run as one self-contained HTML page.

The page loads nothing and has no inline code but its own (Content-Security-Policy). Ids, labels,
transcripts and names of sources are untrusted: jinja2 escapes them, and the script writes them as
text. A person's decisions about uncertain labels are saved as a csv file of the browser's.
"""
