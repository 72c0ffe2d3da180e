"""Models of raw tables: from records as people write them to figures on rows that training never saw.

The policy of ``gdkernels train`` is here: defaults, splits, the penalty and the number of epochs, averages of several
networks, tables larger than memory. Reading a table and preparing its columns belongs to `gdkernels.tables`.
"""
