"""Evaluate arithmetic in a profile (`max(2000, 1000 * attempt)`) from its syntax tree; no text is executed."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

MAX_CHARACTERS, MAX_NUMBER, MAX_POWER = 500, 1e18, 64

_BINARY: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable] = {ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_}
_COMPARE: dict[type[ast.cmpop], Callable] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CALLS: dict[str, Callable] = {"min": min, "max": max, "int": int, "float": float, "round": round, "abs": abs}


def evaluate(text: str, names: Mapping[str, int]) -> int | float | str | None:
    """The value of an expression of numbers, the given names, arithmetic, comparisons, `a if b else c`, min, max, int,
    float, round and abs, or of a quoted string. None for any other text, and for numbers beyond 10^18."""
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body, names)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError, KeyError):
        return None
    return value if isinstance(value, (int, float, str)) else None


def _value(node: ast.expr, names: Mapping[str, int]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value if isinstance(value, str) else _bounded(value)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _bounded(_UNARY[type(op)](_number(operand, names)))
        case ast.BinOp(op=op, left=left, right=right):
            first, second = _number(left, names), _number(right, names)
            if isinstance(op, ast.Pow) and abs(second) > MAX_POWER:
                raise ValueError("the exponent is too large")
            return _bounded(_BINARY[type(op)](first, second))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _COMPARE[type(op)](_value(left, names), _value(right, names))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, names) else orelse, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _bounded(_CALLS[name](*(_number(argument, names) for argument in arguments)))
    raise ValueError("no arithmetic")


def _number(node: ast.expr, names: Mapping[str, int]) -> int | float:
    value = _value(node, names)
    if not isinstance(value, (int, float)):
        raise TypeError("no number")
    return value


def _bounded(value: int | float) -> int | float:
    if not abs(value) <= MAX_NUMBER:  # NaN too
        raise ArithmeticError("the number is too large")
    return value
