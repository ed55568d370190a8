"""Tasks that are computed together or not at all: one, a group of clients or the members of an interleaving."""

from workloads.tasks import Task, TrainTask

Unit = tuple[Task, ...]


def unit_name(task: Task) -> str:
    """Return what the tasks of a unit have in common, and no others have."""
    return task.group or task.key if isinstance(task, TrainTask) else task.key


def unit_inputs(unit: Unit) -> tuple[str, ...]:
    """Return the keys of the states that a unit starts from, each once."""
    return tuple(dict.fromkeys(key for task in unit for key in task.inputs))
