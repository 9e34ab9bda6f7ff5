"""The wire schema of the control service: `level4.proto` documents it, the modules beside it are generated.

`tools/generate-proto` makes `level4_pb2.py`, `level4_pb2.pyi` and `level4_grpc.py`; a test proves them
current.
"""
