"""What was compared in a training, as the registry keeps it: `{key: {"note", "rows"}}` with flat rows."""

from collections.abc import Sequence
from typing import Any

from app.contracts.bundle import TunedChoice
from app.contracts.jobs import Comparison
from worker.ml.heads.kernel import Stacked
from worker.ml.training.fitting import Fitted

_KEYS = {"backbone": "backbones", "symmetry": "symmetries"}


def tables_of(comparisons: Sequence[Comparison], fitted: Fitted, tuning: TunedChoice | None = None) -> dict[str, Any]:
    """Return one table for each choice that was measured."""
    tables = {_KEYS[table.what]: _choice(table) for table in comparisons}
    tables["regularisation"] = _strengths(fitted)
    if fitted.stacked is not None:
        tables["heads"] = _heads(fitted, fitted.stacked)
    if tuning is not None:
        tables["tuning"] = _tuning(tuning)
    return tables


def _choice(table: Comparison) -> dict[str, Any]:
    rows = [
        {
            "name": row.name,
            "auroc": {"value": row.score, "low": row.low, "high": row.high},
            "seconds": row.seconds,
            "passes": row.passes,
            "note": row.note,
            "is_chosen": row.is_chosen,
        }
        for row in table.rows
    ]
    note = f"{table.reason} Cross-validated in {table.n_folds} folds on {table.n_images:,} labelled images."
    return {"note": note, "rows": rows}


def _strengths(fitted: Fitted) -> dict[str, Any]:
    rows = [
        {
            "strength": result.strength,
            "log_loss": result.log_loss,
            "temperature": result.temperature,
            "is_chosen": result.strength == fitted.strength,
        }
        for result in fitted.cross_validation
    ]
    return {"note": "The lowest cross-validated log-loss after calibration wins; smaller is simpler.", "rows": rows}


def _heads(fitted: Fitted, stacked: Stacked) -> dict[str, Any]:
    linear = min(result.log_loss for result in fitted.cross_validation)
    rows = [
        {"name": "Linear", "log_loss": linear, "is_chosen": not stacked.is_better},
        {"name": "Linear and kernel", "log_loss": linear - stacked.gain, "is_chosen": stacked.is_better},
    ]
    note = (
        f"The kernel part is added where it lowers the cross-validated log-loss by more than a standard error "
        f"({stacked.gain_error:.4f})."
    )
    return {"note": note, "rows": rows}


def _tuning(tuning: TunedChoice) -> dict[str, Any]:
    rows = [
        {"name": name, "log_loss": loss, "is_chosen": tuning.published == key}
        for key, name, loss in (
            ("frozen", "Frozen backbone", tuning.frozen_log_loss),
            ("tuned", "Last stages learned too", tuning.tuned_log_loss),
        )
    ]
    note = f"The lower log-loss after calibration wins, on {tuning.measured_on}: {tuning.n_images:,}."
    return {"note": note, "rows": rows}
