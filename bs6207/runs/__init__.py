"""What surrounds a run: settings, tasks, checkpoints, the folder that a run fills."""
