"""How each action of the catalogue is carried out. A new one is a module here and a line in ACTIONS."""

from __future__ import annotations

from action_api.actions.calls import Call, Execution
from action_api.actions.reset import RESET
from action_api.actions.shutdown import SHUTDOWN
from action_api.actions.start import START

__all__ = ["ACTIONS", "Call", "Execution", "execution"]

ACTIONS: tuple[Execution, ...] = (START, SHUTDOWN, RESET)


def execution(name: str) -> Execution:
    """The execution of that action. Raises KeyError: the catalogue and ACTIONS name the same actions."""
    return {action.name: action for action in ACTIONS}[name]
