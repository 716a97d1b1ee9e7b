"""The formulas: what they compute, and what they refuse."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from nntrainer.config.expressions import FUNCTIONS, Expression
from nntrainer.errors import ExpressionError

VALUES = {
    "n": np.array([1, 2, 3]),
    "x": np.array([0.5, -1.0, 4.0]),
    "pt": ak.Array([[30.0, 20.0], [], [50.0]]),
    "Jets.pt": np.array([7.0, 8.0, 9.0]),
    "a b/c": np.array([1.0, 1.0, 2.0]),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n + 2 * x", [2.0, 0.0, 11.0]),
        ("n ** 2 // 2", [0, 2, 4]),
        ("(n > 1) & (x < 0) | (n == 3)", [False, True, True]),
        ("~(n >= 2)", [True, False, False]),
        ("1 < n <= 3", [False, True, True]),
        ("sum(pt)", [50.0, 0.0, 50.0]),
        ("count(pt[pt > 25])", [1, 0, 1]),
        ("max(pt, -1)", [30.0, -1.0, 50.0]),
        ("min(pt)", [20.0, 0.0, 50.0]),
        ("at(pt, 1, -9)", [20.0, -9.0, -9.0]),
        ("count(pt[:, 0:1])", [1, 0, 1]),
        ("where(x > 0, x, 0)", [0.5, 0.0, 4.0]),
        ("abs(x) + sqrt(n * n)", [1.5, 3.0, 7.0]),
        ("delta_phi(x + 2 * pi, x)", [0.0, 0.0, 0.0]),
        ("Jets.pt - 7", [0.0, 1.0, 2.0]),
        ('branch("a b/c") * 2', [2.0, 2.0, 4.0]),
        ("int64(n) * 10000000000", [1e10, 2e10, 3e10]),
        ("sum(float64(pt)) + int64(2)", [52.0, 2.0, 52.0]),
        ("any(pt > 40)", [False, False, True]),
    ],
)
def test_value(text: str, expected: list[float]) -> None:
    assert np.allclose(ak.to_list(Expression.parse(text).evaluate(VALUES)), expected, atol=1e-12)


def test_names_are_what_must_be_read() -> None:
    expression = Expression.parse('sum(jet_pt[jet_tag > 2]) / pi + branch("a/b") - Jets.pt')
    assert expression.names == {"jet_pt", "jet_tag", "a/b", "Jets.pt"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("__import__('os').system('true')", "calling"),
        ("open(n)", "'open'"),
        ("n.__class__", "__class__"),
        ("(n + 1).real", "attribute"),
        ("[i for i in n]", "ListComp"),
        ("lambda: 1", "Lambda"),
        ("n and x", "'and'"),
        ("n or x", "'or'"),
        ("not n", "'not'"),
        ("n if x else n", "IfExp"),
        ("'text'", "constant 'text'"),
        ("n is x", "Is"),
        ("n @ x", "MatMult"),
        ("n << 2", "LShift"),
        ("sqroot(x)", "Did you mean 'sqrt'?"),
        ("sum(pt, axis=0)", "named argument"),
        ("f'{n}'", "JoinedStr"),
        ("(n := 3)", "NamedExpr"),
        ("n; x", "not a formula"),
        ("n +", "not a formula"),
        ("", "not a formula"),
        ("{1: 2}", "Dict"),
        ("branch(n)", "branch takes one quoted name"),
        ("1" + "+1" * 3000, "characters"),
        ("(" * 90 + "n" + ")" * 90 + "+" + "-" * 90 + "n", "nested"),
    ],
)
def test_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert word in str(caught.value)


def test_missing_value_is_named() -> None:
    with pytest.raises(ExpressionError, match="needs 'y'"):
        Expression.parse("n + y").evaluate(VALUES)


def test_arrays_that_do_not_fit_are_a_sentence() -> None:
    with pytest.raises(ExpressionError, match="cannot be computed"):
        Expression.parse("pt[:, 1]").evaluate(VALUES)


def test_no_function_reaches_beyond_arrays() -> None:
    assert not {"eval", "exec", "getattr", "open", "compile"} & set(FUNCTIONS)
