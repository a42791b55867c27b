"""Who proposes trials. The only folder that imports optuna."""
