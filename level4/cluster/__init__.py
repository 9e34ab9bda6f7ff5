"""Several nodes as one system: gossip over UDP, and acting on what placement decides."""
