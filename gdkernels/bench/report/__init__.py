"""The report: one page that opens in any browser without network."""
