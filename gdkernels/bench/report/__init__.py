"""The report of a benchmark: one page that opens in any browser without network.

Code here turns results into charts and text; it measures nothing.
"""
