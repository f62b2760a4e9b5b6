"""A calculator: exact arithmetic on what Python's grammar reads, and nothing else of Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from fractions import Fraction

_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_LONGEST = 1000
"""Characters of a question, and digits of a number on the way."""


class Calculator:
    """A `Tool` for + - * / // % ** and brackets, in exact fractions: 1/3 stays 1/3, and 0.1+0.2 is 3/10.

    What it cannot answer it answers with a line that begins with "error".

    >>> calculator = Calculator()
    >>> calculator.call("17+25*3"), calculator.call("0.1+0.2"), calculator.call("2**-2"), calculator.call("1/0")
    ('92', '3/10', '1/4', 'error: division by zero')
    """

    def __init__(self, name: str = "calculator") -> None:
        self.name = name

    def call(self, text: str) -> str:
        try:
            if len(text) > _LONGEST:
                raise ValueError(f"more than {_LONGEST} characters")
            return str(_value(ast.parse(text.strip(), mode="eval").body))
        except ZeroDivisionError:
            return "error: division by zero"
        except (SyntaxError, RecursionError, MemoryError):
            return "error: not an expression"
        except ValueError as error:
            return f"error: {error}"


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=bool() | complex()):
            raise ValueError("only numbers and + - * / // % ** are known")
        case ast.Constant(value=int() | float() as number):
            return _checked(Fraction(str(number)))
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand)
        case ast.UnaryOp(op=ast.UAdd()):
            return _value(node.operand)
        case ast.BinOp(op=ast.Pow()):
            return _power(_value(node.left), _value(node.right))
        case ast.BinOp() if type(node.op) in _BINARY:
            return _checked(Fraction(_BINARY[type(node.op)](_value(node.left), _value(node.right))))
    raise ValueError("only numbers and + - * / // % ** are known")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ValueError("an exponent must be a whole number")
    if _digits(base) * abs(exponent.numerator) > _LONGEST:
        raise ValueError(f"a number of more than {_LONGEST} digits")
    return Fraction(base**exponent.numerator)


def _checked(number: Fraction) -> Fraction:
    if _digits(number) > _LONGEST:
        raise ValueError(f"a number of more than {_LONGEST} digits")
    return number


def _digits(number: Fraction) -> float:
    """About how many decimal digits the larger of numerator and denominator has."""
    return max(abs(number.numerator).bit_length(), number.denominator.bit_length()) * 0.302
