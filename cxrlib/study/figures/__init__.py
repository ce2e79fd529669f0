"""The figures of the book, drawn from tables and arrays.

common (style, and what several pages draw), real (the study on real X-rays), shortcuts (disease or data source).
"""
