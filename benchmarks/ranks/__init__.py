"""Studies of groups: what a rank costs, what its messages cost beside others, and what a killed rank does."""
