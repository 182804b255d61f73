"""Reports from result files: an HTML page with charts, and the differences of two runs.

Reading order:

    charts   bars and lines as inline SVG
    page     one self-contained HTML page
    compare  what changed from one run to another
"""
