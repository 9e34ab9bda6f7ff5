"""level4: level-2 market data of crypto exchanges, kept honest, published to Kafka."""

__version__ = "0.2.0"
