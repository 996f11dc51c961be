"""Trainings, one module a task. `TRAININGS` in `registry` names them."""
