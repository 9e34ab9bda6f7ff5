"""Hyperliquid, spot and perpetuals of all its dexs (hyperliquid.gitbook.io, as read by third parties 2026-06 to 2026-11;
a third party's probe of 2026-09)."""
