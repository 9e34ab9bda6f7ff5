"""The part of PromQL that our rules and boards use, evaluated over two scrapes. The parser is Prometheus' grammar.

`rate` and `increase` see the earlier and the later scrape as the ends of their range, without extrapolation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from operator import eq, ge, gt, lt
from typing import Any

import promql_parser as ast
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
COMPARISONS: dict[str, Callable[[float, float], bool]] = {">": gt, "<": lt, "==": eq, ">=": ge}
NO_LABELS: Labels = frozenset()


class Scrapes:
    """An earlier and a later scrape, as texts of the exposition format, `seconds` apart."""

    def __init__(self, earlier: str, later: str, seconds: float = 300.0) -> None:
        self.seconds = seconds
        self._earlier = _samples(earlier)
        self._later = _samples(later)

    def firing(self, expression: str) -> Vector:
        """The series for which the expression gives a value (an alert's condition: for which it fires)."""
        value = self._value(ast.parse(expression))
        assert isinstance(value, dict)
        return value

    def _value(self, node: Any) -> Vector | float:
        if isinstance(node, ast.NumberLiteral):
            return float(node.val)
        if isinstance(node, ast.ParenExpr):
            return self._value(node.expr)
        if isinstance(node, ast.VectorSelector):
            return _select(self._later, node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.AggregateExpr):
            return self._aggregate(node)
        assert isinstance(node, ast.BinaryExpr), type(node)
        return self._binary(node)

    def _call(self, node: Any) -> Vector:
        name = node.func.name
        if name == "histogram_quantile":
            quantile, buckets = node.args[0].val, self._value(node.args[1])
            assert isinstance(buckets, dict)
            return _quantiles(quantile, buckets)
        assert name in ("rate", "increase"), name
        selector = node.args[0].vector_selector
        before, after = _select(self._earlier, selector), _select(self._later, selector)
        per = self.seconds if name == "rate" else 1.0
        rise = {key: (value - before[key]) / per for key, value in after.items() if key in before}
        assert all(value >= 0 for value in rise.values()), f"a counter fell: {node}"
        return {_nameless(key): value for key, value in rise.items()}

    def _aggregate(self, node: Any) -> Vector:
        by = set(node.modifier.labels) if node.modifier is not None else set()
        groups: dict[Labels, list[float]] = defaultdict(list)
        value = self._value(node.expr)
        assert isinstance(value, dict)
        for key, number in value.items():
            groups[frozenset(pair for pair in key if pair[0] in by)].append(number)
        fold: dict[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
        return {key: fold[str(node.op)](numbers) for key, numbers in groups.items()}

    def _binary(self, node: Any) -> Vector:
        left, right, op = self._value(node.lhs), self._value(node.rhs), str(node.op)
        as_bool = node.modifier is not None and node.modifier.return_bool
        if isinstance(left, float):
            assert isinstance(right, dict)
            left = dict.fromkeys(map(_nameless, right), left)
        left = left if op in ("and", "or") or op in COMPARISONS else {_nameless(k): v for k, v in left.items()}
        others = None if isinstance(right, float) else {_nameless(key): value for key, value in right.items()}
        if op == "and":
            return {key: value for key, value in left.items() if _nameless(key) in (others or {})}
        if op == "or":
            return {**(others or {}), **left}
        found: Vector = {}
        for key, value in left.items():
            other = right if isinstance(right, float) else (others or {}).get(_nameless(key))
            if other is None:
                continue
            if op in COMPARISONS:
                holds = COMPARISONS[op](value, other)
                if as_bool:
                    found[_nameless(key)] = float(holds)
                elif holds:
                    found[key] = value
            elif op == "/":
                if other:
                    found[key] = value / other
            else:
                found[key] = {"*": value * other, "-": value - other}[op]
        return found


def metric_names(expression: str) -> set[str]:
    """Names of all series an expression reads."""
    return {node.name for node in _selectors(ast.parse(expression))}


def _selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, ast.VectorSelector):
        yield node
        return
    if isinstance(node, ast.MatrixSelector):
        yield node.vector_selector
        return
    for name in ("expr", "lhs", "rhs"):
        if hasattr(node, name):
            yield from _selectors(getattr(node, name))
    for argument in getattr(node, "args", ()):
        yield from _selectors(argument)


def _samples(text: str) -> Vector:
    return {
        frozenset({("__name__", sample.name), *sample.labels.items()}): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _select(samples: Vector, node: Any) -> Vector:
    matchers = [(m.name, str(m.op), m.value) for m in node.matchers.matchers]
    found = {}
    for key, value in samples.items():
        labels = dict(key)
        if labels["__name__"] == node.name and all(_matches(labels.get(n, ""), op, v) for n, op, v in matchers):
            found[key] = value
    return found


def _matches(value: str, op: str, wanted: str) -> bool:
    if op.endswith("Re") or "~" in op:
        return re.fullmatch(wanted, value) is not None
    return value == wanted


def _nameless(key: Labels) -> Labels:
    return frozenset(pair for pair in key if pair[0] != "__name__")


def _quantiles(quantile: float, buckets: Vector) -> Vector:
    """Linear within a bucket; beyond the last bound, that bound."""
    groups: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for key, count in buckets.items():
        labels = dict(key)
        bound = float(labels.pop("le"))
        groups[_nameless(frozenset(labels.items()))].append((bound, count))
    found = {}
    for key, rows in groups.items():
        rows.sort()
        total = rows[-1][1]
        if not total:
            continue
        low, below = 0.0, 0.0
        for bound, count in rows:
            if count >= quantile * total:
                share = (quantile * total - below) / (count - below) if count > below else 0.0
                found[key] = low if bound == float("inf") else low + (bound - low) * share
                break
            low, below = bound, count
    return found
