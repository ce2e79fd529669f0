"""What one page of the book needs and no other: its tables, and the measurements behind them.

May use everything in study, but of figures only the names and captions: pages say, figures draw.
"""
