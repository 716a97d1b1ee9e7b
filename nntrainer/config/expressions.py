"""Selections, weights and variables as text, without ever running the text.

A formula is parsed with :mod:`ast` and walked over a whitelist: arithmetic, comparison, ``& | ~``, slicing, and
the functions of :data:`FUNCTIONS`. Everything else is refused by name. Branch names with dots are written as they
are (``Jets.pt``), stranger ones as ``branch("name")``. Values are NumPy or awkward arrays whose first axis is the
event; functions that reduce do so over the objects of each event.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nntrainer.errors import ExpressionError, nearest, one_of

MAX_LENGTH = 4096
MAX_DEPTH = 50

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: _numpy("power")(a, b) if not isinstance(a, int | float) else float(a) ** b,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _numpy(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        import numpy

        with numpy.errstate(all="ignore"):  # NaN and infinity are counted later, by the feature's name
            return getattr(numpy, name)(*arguments)

    return call


def _objects(name: str, **options: Any) -> Callable[[Any], Any]:
    def call(values: Any) -> Any:
        import awkward

        return getattr(awkward, name)(values, axis=1, **options)

    return call


def _extreme(name: str) -> Callable[..., Any]:
    def call(values: Any, default: float = 0.0) -> Any:
        import awkward

        return awkward.fill_none(getattr(awkward, name)(values, axis=1), default)

    return call


def _at(values: Any, index: int, default: float = 0.0) -> Any:
    import awkward

    if not isinstance(index, int) or index < 0:
        raise ExpressionError(f"at(values, index, default): the index must be a number from 0, not {index!r}")
    return awkward.fill_none(awkward.pad_none(values, index + 1, axis=1)[:, index], default)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    import awkward

    return awkward.where(condition, yes, no)


def _delta_phi(a: Any, b: Any) -> Any:
    import numpy

    return (a - b + numpy.pi) % (2 * numpy.pi) - numpy.pi


def _as(dtype: str) -> Callable[[Any], Any]:
    """Return a conversion: weights multiply in double precision, event ids must not overflow 32 bits."""

    def call(values: Any) -> Any:
        import awkward
        import numpy

        # Not numpy.ndim, which awkward takes over and refuses for lists of unequal lengths.
        plain = getattr(values, "ndim", 0) == 0
        return numpy.dtype(dtype).type(values) if plain else awkward.values_astype(values, dtype)

    return call


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _numpy(name) for name in ("abs", "sqrt", "exp", "log", "log10", "log1p", "sin", "cos", "tan", "sinh")},
    **{name: _numpy(name) for name in ("cosh", "tanh", "arcsin", "arccos", "arctan", "arctan2", "hypot", "floor")},
    **{name: _numpy(name) for name in ("minimum", "maximum", "isfinite", "sign")},
    "sum": _objects("sum"),
    "mean": _objects("mean"),
    "any": _objects("any"),
    "all": _objects("all"),
    "count": _objects("num"),
    "min": _extreme("min"),
    "max": _extreme("max"),
    "at": _at,
    "where": _where,
    "delta_phi": _delta_phi,
    "float64": _as("float64"),
    "int64": _as("int64"),
}
"""The functions a formula may call. ``sum mean any all count min max`` reduce over the objects of each event,
``at(x, i, default)`` takes the i-th object, ``delta_phi(a, b)`` lies in [-π, π)."""

CONSTANTS = {"pi": 3.141592653589793}


@dataclass(frozen=True)
class Expression:
    """A formula that has been checked."""

    text: str
    names: frozenset[str]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Check a formula.

        Args:
            text: the formula.

        Returns:
            The expression, with the names it needs.

        Raises:
            ExpressionError: the text is not a formula or uses something outside the whitelist.
        """
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"the formula is {len(text)} characters long; {MAX_LENGTH} are allowed")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            detail = getattr(error, "msg", None) or "it is nested too deeply"
            raise ExpressionError(f"'{_short(text)}' is not a formula: {detail}") from None
        names: set[str] = set()
        _check(tree, names, text, 0)
        return cls(text, frozenset(names), tree)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Compute the formula.

        Args:
            values: arrays by name, first axis the event.

        Returns:
            An array, or a number where the formula is constant.

        Raises:
            ExpressionError: a name has no value or the arrays do not fit together.
        """
        import numpy

        try:
            with numpy.errstate(all="ignore"):
                return _evaluate(self._tree, values)
        except ExpressionError:
            raise
        except KeyError as error:
            name = str(error.args[0])
            raise ExpressionError(f"'{_short(self.text)}' needs '{name}', which is not there") from None
        except (TypeError, ValueError, IndexError, OverflowError, ZeroDivisionError, AttributeError) as error:
            detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ExpressionError(f"'{_short(self.text)}' cannot be computed: {detail[:160]}") from None


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def _branch(node: ast.Call) -> str | None:
    """Return the name in ``branch("name")``, or None when the call is another one."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "branch"):
        return None
    if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Constant):
        return ""
    return node.args[0].value if isinstance(node.args[0].value, str) else ""


def _refuse(what: str, text: str, instead: str = "") -> ExpressionError:
    return ExpressionError(f"{what} is not allowed in the formula '{_short(text)}'{instead}")


def _check(node: ast.AST, names: set[str], text: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ExpressionError(f"'{_short(text)}' is nested deeper than {MAX_DEPTH} levels")

    def below(*nodes: ast.AST | None) -> None:
        for each in nodes:
            if each is not None:
                _check(each, names, text, depth + 1)

    match node:
        case ast.Constant(value=value) if isinstance(value, bool | int | float):
            return
        case ast.Name() | ast.Attribute():
            name = _dotted(node)
            if name is None:
                raise _refuse("an attribute of a result", text)
            if "__" in name:
                raise _refuse(f"the name '{name}'", text)
            if name not in CONSTANTS:
                names.add(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            below(left, right)
        case ast.BinOp(op=op):
            raise _refuse(f"the operator {type(op).__name__}", text)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            below(operand)
        case ast.UnaryOp():
            raise _refuse("'not'", text, "; use ~(…)")
        case ast.BoolOp(op=op):
            word, sign = ("and", "&") if isinstance(op, ast.And) else ("or", "|")
            raise _refuse(f"'{word}'", text, f"; use (…) {sign} (…)")
        case ast.Compare(left=left, ops=ops, comparators=others):
            for comparison in ops:
                if type(comparison) not in _COMPARE:
                    raise _refuse(f"the comparison {type(comparison).__name__}", text)
            below(left, *others)
        case ast.Subscript(value=value, slice=index):
            below(value)
            _check_index(index, names, text, depth + 1)
        case ast.Call() if (branch := _branch(node)) is not None:
            if not branch:
                raise ExpressionError(f"'{_short(text)}': branch takes one quoted name, such as branch(\"Jets/pt\")")
            names.add(branch)
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=keywords):
            if function not in FUNCTIONS:
                known = one_of(sorted([*FUNCTIONS, "branch"]))
                hint = nearest(function, FUNCTIONS)
                raise _refuse(f"the function '{function}'", text, f"; functions are {known}.{hint}")
            if keywords:
                raise _refuse("a named argument", text)
            below(*arguments)
        case ast.Call():
            raise _refuse(f"calling '{_dotted(node.func) or 'a result'}'", text)
        case ast.Constant(value=value):
            raise _refuse(f"the constant {value!r}", text)
        case _:
            raise _refuse(f"{type(node).__name__}", text)


def _check_index(node: ast.AST, names: set[str], text: str, depth: int) -> None:
    match node:
        case ast.Tuple(elts=parts):
            for part in parts:
                _check_index(part, names, text, depth + 1)
        case ast.Slice(lower=lower, upper=upper, step=step):
            for bound in (lower, upper, step):
                if bound is not None:
                    _check(bound, names, text, depth + 1)
        case _:
            _check(node, names, text, depth + 1)


def _evaluate(node: ast.AST, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = _dotted(node) or ""
            return CONSTANTS[name] if name in CONSTANTS else values[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_evaluate(left, values), _evaluate(right, values))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_evaluate(operand, values))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [_evaluate(side, values) for side in (left, *others)]
            result = _COMPARE[type(ops[0])](sides[0], sides[1])
            for comparison, a, b in zip(ops[1:], sides[1:], sides[2:], strict=False):
                result = result & _COMPARE[type(comparison)](a, b)
            return result
        case ast.Subscript(value=value, slice=index):
            return _evaluate(value, values)[_index(index, values)]
        case ast.Call(func=ast.Name(id=function), args=arguments):
            branch = _branch(node)
            if branch:
                return values[branch]
            return FUNCTIONS[function](*(_evaluate(argument, values) for argument in arguments))
    raise ExpressionError(f"{type(node).__name__} is not allowed in a formula")


def _index(node: ast.AST, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Tuple(elts=parts):
            return tuple(_index(part, values) for part in parts)
        case ast.Slice(lower=lower, upper=upper, step=step):
            return slice(*(None if part is None else _evaluate(part, values) for part in (lower, upper, step)))
    return _evaluate(node, values)
