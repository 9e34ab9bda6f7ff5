"""The control service: what gRPC calls mean for markets. `ports` says what it needs, `service` answers the calls."""
