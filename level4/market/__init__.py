"""The life of one market, pure: what a scheme decoded and the time in, events and wishes out."""

from level4.market.kept import MAX_KEPT
from level4.market.market import REPEAT_SECONDS, Market
from level4.market.shadow import Shadow
from level4.market.stats import Cause, MarketStats
from level4.market.whole import Dropping, Succession, named

__all__ = ["MAX_KEPT", "REPEAT_SECONDS", "Cause", "Dropping", "Market", "MarketStats", "Shadow", "Succession", "named"]
