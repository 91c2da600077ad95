"""The language of selections: `cluster in (1, 3) and 1.2 < defocus < 2 and not saved("junk")`.

It is a small part of Python's own expressions, parsed by `ast` and never run as code:

- `name < 2`, `1 <= name < 2`, `name == 3`, `name in (1, 3, 5)`: ranges and values of a column;
  names that are no identifiers are quoted: `"ctf/df1_A" < 15000`;
- `near(250, k=500)`: the 500 particles nearest in the latent space to row 250;
- `lasso("pc1", "pc2", [(0, 0), (2, 0), (1, 3)])`: those inside a polygon of a plane;
- `rows("good.txt")`: the rows an index file lists; `saved("good")`: an earlier selection;
- `and`, `or`, `not` and parentheses.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Shaped

from vitreous.analysis.lasso import inside_polygon
from vitreous.errors import InputError

Mask = Bool[np.ndarray, " n"]

_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@runtime_checkable
class Choices(Protocol):
    """What rules choose from: particles with columns, neighbours and earlier selections."""

    def column(self, name: str) -> Shaped[np.ndarray, " n"]:
        """Return one value a particle."""

    def near(self, row: int, k: int) -> Mask:
        """Mark the `k` particles nearest to one of them, itself among them."""

    def listed(self, path: str) -> Mask:
        """Mark the particles that an index file lists."""

    def saved(self, name: str) -> Mask:
        """Mark the particles of a saved selection."""


def evaluate_rule(rule: str, choices: Choices) -> Mask:
    """Mark the particles that a rule chooses.

    **Raises:** `InputError` naming what of the rule is not understood, or a name it asks for in
    vain.
    """
    try:
        tree = ast.parse(rule.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        what = getattr(error, "msg", str(error))
        raise InputError(f"rule {rule!r}: {what}; an example: cluster in (1, 3)") from None
    return _mask(tree.body, choices, rule)


def _mask(node: ast.expr, choices: Choices, rule: str) -> Mask:
    match node:
        case ast.BoolOp(op, parts):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            mask = _mask(parts[0], choices, rule)
            for part in parts[1:]:
                mask = combine(mask, _mask(part, choices, rule))
            return mask
        case ast.UnaryOp(ast.Not(), part):
            return ~_mask(part, choices, rule)
        case ast.Compare():
            return _compared(node, choices, rule)
        case ast.Call(ast.Name(name), arguments, keywords):
            return _called(name, arguments, keywords, choices, rule)
    raise _refusal(node, rule)


def _compared(node: ast.Compare, choices: Choices, rule: str) -> Mask:
    """Evaluate `low < name < high`, `name == value` or `name in (values)`."""
    terms = [node.left, *node.comparators]
    columns = [_is_name(term) for term in terms]
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        if len(terms) != 2 or not columns[0]:
            raise _refusal(node, rule)
        values = _constant(terms[1], rule)
        wanted = values if isinstance(values, list | tuple | set) else (values,)
        column = choices.column(_name(terms[0]))
        found = np.isin(column, _alike(column, list(wanted)))
        return ~found if isinstance(node.ops[0], ast.NotIn) else found
    if sum(columns) > 1:
        # Of `rlnMicrographName == "a.mrc"` the bare word is the column, else the first text.
        bare = [isinstance(term, ast.Name) for term in terms]
        columns = bare if any(bare) else [True] + [False] * (len(terms) - 1)
    if sum(columns) != 1:
        raise _refusal(node, rule)
    column = choices.column(_name(terms[columns.index(True)]))
    values = [
        column if is_column else _alike(column, _constant(term, rule))
        for term, is_column in zip(terms, columns, strict=True)
    ]
    mask = np.ones(len(column), bool)
    for op, left, right in zip(node.ops, values[:-1], values[1:], strict=True):
        if type(op) not in _COMPARISONS:
            raise _refusal(node, rule)
        mask &= np.asarray(_COMPARISONS[type(op)](left, right), bool)
    return mask


def _called(
    name: str, arguments: list[ast.expr], keywords: list[ast.keyword], choices: Choices, rule: str
) -> Mask:
    values = [_constant(a, rule) for a in arguments]
    named = {k.arg: _constant(k.value, rule) for k in keywords}
    if name == "near" and len(values) + len(named) == 2 and set(named) <= {"k"}:
        row, k = values[0], named.get("k", values[-1])
        if isinstance(row, int) and isinstance(k, int):
            return choices.near(row, k)
    elif name == "lasso" and len(values) == 3 and not named:
        across, up, polygon = values
        if isinstance(across, str) and isinstance(up, str) and isinstance(polygon, list | tuple):
            return inside_polygon(_numbers(across, choices), _numbers(up, choices), polygon)
    elif len(values) == 1 and isinstance(values[0], str) and not named:
        if name == "rows":
            return choices.listed(values[0])
        if name == "saved":
            return choices.saved(values[0])
    raise InputError(
        f'rule {rule!r}: {name}(…) is not understood; there are near(row, k), rows("file"), '
        'saved("name"), lasso("x", "y", [corners])'
    )


def _numbers(name: str, choices: Choices) -> np.ndarray:
    column = choices.column(name)
    if column.dtype.kind not in "fiu":
        raise InputError(f"{name!r} is no column of numbers: a lasso needs two of them")
    return column.astype(np.float64)


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else str(ast.literal_eval(node))


def _constant(node: ast.expr, rule: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        # A set of lists is a constant that cannot be.
        raise _refusal(node, rule) from None


def _alike(column: np.ndarray, value: Any) -> Any:
    """Bring values to the kind of a column: numbers to numbers, text to text."""
    is_text = column.dtype.kind in "OUS"
    values = value if isinstance(value, list) else [value]
    if is_text:
        made = [str(v) for v in values]
    elif all(isinstance(v, int | float) for v in values):
        made = values
    else:
        raise InputError(f"{value!r} is compared with a column of numbers")
    return made if isinstance(value, list) else made[0]


def _refusal(node: ast.expr, rule: str) -> InputError:
    return InputError(
        f"rule {rule!r}: {ast.unparse(node)!r} is not understood; "
        "an example: cluster in (1, 3) and 1.2 < defocus < 2"
    )
