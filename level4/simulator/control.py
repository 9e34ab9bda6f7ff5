"""The control port: `/_level4/…` on the simulator's own port, JSON over HTTP.

GET    /_level4/stats                          counts per exchange and market, faults, sessions
GET    /_level4/book?exchange=…&symbol=…       the whole book of a synthetic market, and its last trade id
GET    /_level4/trades?exchange=…&symbol=…     its last trades, oldest first
POST   /_level4/pause, /_level4/resume         stop and restart generation
GET    /_level4/faults                         faults that wait
POST   /_level4/faults                         ask for a fault: the fields of `Fault` as an object
DELETE /_level4/faults                         forget those that wait
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from level4.simulator.faults import Fault
from level4.simulator.rest import Request, Response

PREFIX = "/_level4/"


class Controlled(Protocol):
    """What the control port acts on."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stats(self) -> dict[str, object]: ...

    def book(self, exchange: str, symbol: str) -> dict[str, object] | None: ...

    def trades(self, exchange: str, symbol: str) -> list[dict[str, str]] | None: ...

    def inject(self, fault: Fault) -> int: ...

    def pending_faults(self) -> list[Fault]: ...

    def clear_faults(self) -> None: ...


def control(simulator: Controlled, request: Request) -> Response:
    path, _, _ = request.target.partition("?")
    parameters = request.address.parameters()
    match request.method, path.removeprefix(PREFIX):
        case "GET", "stats":
            return Response.json(simulator.stats())
        case "GET", ("book" | "trades") as what:
            exchange, symbol = parameters.get("exchange", ""), parameters.get("symbol", "")
            told = simulator.book(exchange, symbol) if what == "book" else simulator.trades(exchange, symbol)
            if told is None:
                return Response.json({"error": f"no synthetic market {symbol!r} of exchange {exchange!r}"}, 404)
            return Response.json(told)
        case "POST", "pause":
            simulator.pause()
            return Response.json({"paused": True})
        case "POST", "resume":
            simulator.resume()
            return Response.json({"paused": False})
        case "GET", "faults":
            return Response.json({"pending": simulator.pending_faults()})
        case "POST", "faults":
            try:
                fault = msgspec.json.decode(request.body, type=Fault)
            except msgspec.MsgspecError as error:
                return Response.json({"error": f"expected a fault: {error}"}, 400)
            return Response.json({"affected": simulator.inject(fault)})
        case "DELETE", "faults":
            simulator.clear_faults()
            return Response.json({"pending": []})
        case _:
            return Response.json({"error": f"unknown: {request.method} {path}"}, 404)
