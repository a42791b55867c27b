"""Ray: where trainings run, and on what. The only folder that imports ray."""
