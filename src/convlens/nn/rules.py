"""How one weight of a layer begins, what it costs, and where it must stay: three wishes that come together.

Keras gives them to a layer as `kernel_initializer`, `kernel_regularizer`, `kernel_constraint`, and the same for its
bias. Here they are set on an ordinary torch module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from convlens.nn.constraints import Constraint, constrain, constraint
from convlens.nn.initialisers import Initialiser, initialiser
from convlens.nn.penalties import Regulariser, penalise, regulariser

Wish = str | Mapping[str, Any] | Callable[[Tensor], Any] | None  # a name, a table, an object
Module = TypeVar("Module", bound=nn.Module)


class Rules(NamedTuple):
    """The rules of one parameter; None leaves it as torch has it."""

    initialiser: Initialiser | None = None
    regulariser: Regulariser | None = None
    constraint: Constraint | None = None

    @classmethod
    def of(cls, initializer: Wish = None, regularizer: Wish = None, constraint_: Wish = None) -> Rules:
        """Rules from names, tables or objects.

        Example:
            >>> Rules.of("zeros", "l2")
            Rules(initialiser=Constant(value=0.0), regulariser=L2(l2=0.01), constraint=None)

        Raises:
            ConfigError: there is none of a name, or it has no such option.
        """
        return cls(
            None if initializer is None else initialiser(initializer),
            None if regularizer is None else regulariser(regularizer),
            None if constraint_ is None else constraint(constraint_),
        )

    def note(self, module: nn.Module, name: str) -> None:
        """Set penalty and constraint of a parameter that may still be without its values."""
        if self.regulariser:
            penalise(module, name, self.regulariser)
        if self.constraint:
            constrain(module, name, self.constraint)


def ruled(make: Callable[[], Module], **rules: Rules) -> Module:
    """Make a module whose parameters begin, cost and stay as the rules say.

    Args:
        rules: by the name of the parameter; one that the module does not have is passed over.

    Example:
        >>> ruled(lambda: nn.Linear(2, 1), weight=Rules.of("ones"), bias=Rules.of("zeros")).weight.tolist()
        [[1.0, 1.0]]
    """
    module = make()
    for name, rule in rules.items():
        parameter = getattr(module, name)
        if parameter is None:
            continue
        if rule.initialiser:
            rule.initialiser(parameter)
        rule.note(module, name)
    return module
