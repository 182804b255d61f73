"""JSON files made readable: one HTML page with charts, one comparison of two runs.

Reading order:

    charts   bars and lines as inline SVG
    page     one self-contained HTML page
    compare  what changed from one run to another
"""
