"""Selections as the page words them (JSON), as masks, and as rules of `vitreous select`.

A rule is `{"and": […]}`, `{"or": […]}`, `{"not": …}`, or one of `range`, `lasso`, `cluster`,
`nearest`, `named`, `indices`, `all`.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.lasso import inside_polygon
from vitreous.dashboard.columns import ColumnStore
from vitreous.errors import InputError

Rule = dict[str, Any]
Mask = Bool[np.ndarray, " n"]
_DEEPEST = 40
# A command line of more rows than this helps nobody.
_WORDED = 300


class Rules:
    """Evaluate and word the rules of a page.

    **Arguments:** `ready`: waits until the particle file has been read, where the numbers of the
    particles stand in it.
    """

    def __init__(
        self, store: ColumnStore, candidates: Candidates, ready: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._candidates, self._ready = store, candidates, ready
        self._leaves: dict[str, tuple[Callable[[Any], Mask], Callable[[Any], str]]] = {
            "range": (self._in_range, self._word_range),
            "lasso": (self._in_lasso, self._word_lasso),
            "cluster": (self._in_cluster, lambda k: f"cluster in {_tuple(_whole(k))}"),
            "nearest": (self._nearest, self._word_nearest),
            "named": (self._named, lambda name: f"saved({_text(str(name))})"),
            "indices": (self._listed, self._word_listed),
            "all": (lambda _: np.ones(len(store), bool), lambda _: "row >= 0"),
        }

    def mask(self, rule: Rule, depth: int = 0) -> Mask:
        """Mark the particles a rule chooses, in the order of the run.

        **Raises:** `InputError` naming what of it is not understood.
        """
        kind, value = _parted(rule, depth)
        if kind in ("and", "or"):
            masks = [self.mask(part, depth + 1) for part in value]
            combine = np.logical_and if kind == "and" else np.logical_or
            return combine.reduce(masks)
        if kind == "not":
            return ~self.mask(value, depth + 1)
        return self._leaf(kind)[0](value)

    def word(self, rule: Rule, depth: int = 0) -> str:
        """Put a rule into the language of `vitreous select --where`."""
        kind, value = _parted(rule, depth)
        if kind in ("and", "or"):
            return f" {kind} ".join(f"({self.word(part, depth + 1)})" for part in value)
        if kind == "not":
            return f"not ({self.word(value, depth + 1)})"
        return self._leaf(kind)[1](value)

    @property
    def rows(self) -> Int64[np.ndarray, " n"]:
        """The number of each particle in the particle file."""
        self._ready()
        return self._candidates.rows

    def chosen(self, rule: Rule) -> Mask:
        """Mark the particles a rule chooses, one at least.

        **Raises:** `InputError` if it chooses none.
        """
        mask = self.mask(rule)
        if not mask.any():
            raise InputError("the selection is empty: it holds none of the particles")
        return mask

    def command(self, rule: Rule, *more: str) -> str:
        """Word the command that chooses the same particles."""
        words = ["vitreous", "select", str(self._candidates.path)]
        chosen = {"--epoch": self._candidates.epoch, "--kmeans": self._candidates.clusters}
        words += [word for k, v in chosen.items() if v is not None for word in (k, str(v))]
        if rule != {"all": True}:
            where = self.word(rule)
            # What begins with a minus would be taken for an option.
            words += ["--where", f"({where})" if where.startswith("-") else where]
        return shlex.join([*words, *more])

    def _leaf(self, kind: str) -> tuple[Callable[[Any], Mask], Callable[[Any], str]]:
        if kind not in self._leaves:
            known = ", ".join(("and", "or", "not", *self._leaves))
            raise InputError(f"rule {kind!r} is not understood; there are {known}")
        return self._leaves[kind]

    def _in_range(self, value: Any) -> Mask:
        name, low, high = _range(value)
        column = self._store.values(name)
        mask = np.ones(len(column), bool)
        if low is not None:
            mask &= column >= low
        if high is not None:
            mask &= column <= high
        return mask

    def _word_range(self, value: Any) -> str:
        name, low, high = _range(value)
        column = self._store[name]
        if column.kind == "category":
            first = 0 if low is None else max(int(np.ceil(low)), 0)
            last = len(column.names) - 1 if high is None else int(np.floor(high))
            labels = [int(n) if n.isdecimal() else n for n in column.names[first : last + 1]]
            return f"{_term(name)} in {_tuple(labels)}"
        left = "" if low is None else f"{low:.9g} <= "
        right = "" if high is None else f" <= {high:.9g}"
        return f"{left}{_term(name)}{right}" if left or right else "row >= 0"

    def _in_lasso(self, value: Any) -> Mask:
        across, up, polygon = _lasso(value)
        # Codes of categories are places on an axis too.
        x, y = (np.asarray(self._store.values(name), np.float32) for name in (across, up))
        return inside_polygon(x, y, polygon)

    def _word_lasso(self, value: Any) -> str:
        across, up, polygon = _lasso(value)
        if "category" in (self._store[across].kind, self._store[up].kind):
            # Drawn over the places of categories, of which `select` knows the names only.
            return self._word_listed(np.flatnonzero(self._in_lasso(value)).tolist())
        corners = ", ".join(f"({x:.6g}, {y:.6g})" for x, y in polygon)
        return f"lasso({_text(across)}, {_text(up)}, [{corners}])"

    def _in_cluster(self, value: Any) -> Mask:
        column = self._store["cluster"]
        wanted = [column.names.index(str(k)) for k in _whole(value) if str(k) in column.names]
        return np.isin(self._store.values("cluster"), wanted)

    def _nearest(self, value: Any) -> Mask:
        particle, count = self._neighbour(value)
        return self._candidates.near(int(self.rows[particle]), count)

    def _word_nearest(self, value: Any) -> str:
        particle, count = self._neighbour(value)
        return f"near({int(self.rows[particle])}, k={count})"

    def _neighbour(self, value: Any) -> tuple[int, int]:
        try:
            particle, count = int(value["particle"]), int(value["count"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError('rule "nearest" needs a particle and a count') from None
        self.check_particles([particle])
        return particle, count

    def _named(self, name: Any) -> Mask:
        self._ready()
        return self._candidates.saved(str(name))

    def _listed(self, value: Any) -> Mask:
        mask = np.zeros(len(self._store), bool)
        mask[self.check_particles(_whole(value))] = True
        return mask

    def _word_listed(self, value: Any) -> str:
        chosen = self.check_particles(_whole(value))
        if len(chosen) > _WORDED:
            # Saved under a name, it is a command of one line.
            return f'saved("…{len(chosen)} particles drawn by hand: save them under a name…")'
        return f"row in {_tuple(self.rows[chosen].tolist())}"

    def check_particles(self, particles: Sequence[int]) -> Int64[np.ndarray, " k"]:
        """Make sure that these are particles of the run.

        **Raises:** `InputError` naming the first that is none.
        """
        # As they came: int64 does not hold every number that somebody may ask for.
        found = np.asarray(particles).reshape(-1)
        bad = found[(found < 0) | (found >= len(self._store))]
        if bad.size:
            raise InputError(f"particle {bad[0]}: the run has 0 to {len(self._store) - 1}")
        return found.astype(np.int64)


def _parted(rule: Any, depth: int) -> tuple[str, Any]:
    if depth > _DEEPEST:
        raise InputError("a rule within a rule within a rule …: save parts of it under names")
    if not isinstance(rule, dict) or len(rule) != 1:
        raise InputError(f'not a rule: {str(rule)[:80]}; an example: {{"cluster": [1, 3]}}')
    kind, value = next(iter(rule.items()))
    if kind in ("and", "or") and (not isinstance(value, list) or not value):
        raise InputError(f'rule "{kind}" needs a list of rules')
    return str(kind), value


def _range(value: Any) -> tuple[str, float | None, float | None]:
    try:
        low, high = (None if value.get(k) is None else float(value[k]) for k in ("low", "high"))
        return str(value["column"]), low, high
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError('rule "range" needs a column, and numbers as low and high') from None


def _lasso(value: Any) -> tuple[str, str, list]:
    try:
        return str(value["x"]), str(value["y"]), list(value["polygon"])
    except (KeyError, TypeError):
        raise InputError('rule "lasso" needs columns x and y, and a polygon') from None


def _whole(value: Any) -> list[int]:
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(n, int) for n in numbers):
        raise InputError(f"whole numbers are wanted, not {str(value)[:80]}")
    return numbers


def _term(name: str) -> str:
    return name if name.isidentifier() else _text(name)


def _text(text: str) -> str:
    # Double quotes: the shell's are single.
    return json.dumps(text, ensure_ascii=False)


def _tuple(values: Sequence[int | str]) -> str:
    words = ", ".join(_text(v) if isinstance(v, str) else str(v) for v in values)
    return f"({words}{',' if len(values) == 1 else ''})"
