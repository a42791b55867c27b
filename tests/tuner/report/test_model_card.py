"""The README.md of an exported model."""

from pathlib import Path

from tests.tuner.drive import Plan, search_in_process, settings_of
from tuner.report.model_card import model_card
from tuner.report.summary import summarize_run
from tuner.run.run_folder import RunFolder


def test_the_model_card_names_the_folder_that_it_was_exported_to(tmp_path: Path) -> None:
    plan = Plan(folder=str(tmp_path / "run"), trials=1)
    run = RunFolder(Path(plan.folder))
    run.write({"settings": settings_of(plan).as_dict(), "status": "done"})
    search_in_process(plan)
    mae = {"mae": 0.1, "rmse": 0.2, "r2": 0.3}
    metrics = {part: {"band_gap": mae, "fermi_energy": mae} for part in ("test", "validation")}
    info = {
        "num_parameters": 1,
        "metrics": metrics,
        "store": {"source": "sample", "fingerprint": "0"},
        "graph": {},
        "trial": {"key": "0000", "params": {}, "seed": 0},
        "search": {"run": "run"},
        "train": {"epochs": 9},
        "best_epoch": 1,
        "score": 0.5,
        "trained_with": {},
    }
    card = model_card(summarize_run(run), info, Path("exports/my best"))
    assert card.startswith("# my best\n")
    assert "python -m model.predict 'exports/my best' my.cif" in card
