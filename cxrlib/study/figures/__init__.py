"""The figures of the book, drawn from tables and arrays.

common (what the pages of the paper draw), heat (heat maps), speed (costs), real (the study on real X-rays), shortcuts (disease or data source),
answer and decisions; style (how all look), captions (what each found).
"""
