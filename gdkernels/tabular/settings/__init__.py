"""What a fit on a table is asked for: keywords and what they mean together, defaults, and what is to be learned.

Code here trains nothing and reads no table but its targets. How many networks follow from it belongs to
`gdkernels.tabular.networks`.
"""

from gdkernels.tabular.settings.tabular_settings import TabularSettings

__all__ = ["TabularSettings"]
