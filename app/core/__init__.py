"""Ground that everything stands on: errors, ids, time, pagination, passwords."""
