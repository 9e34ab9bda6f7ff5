"""gRPC inside the trio program: serving, health, reflection, and a typed client.

Import the modules you need. `level4.rpc.errors` is free of side effects; `bridge`, `handler`, `serve`, `health` and
`client` import trio_asyncio, which replaces the asyncio policy of the whole process (see `bridge`). Nothing outside
this room imports trio_asyncio or grpclib.
"""
