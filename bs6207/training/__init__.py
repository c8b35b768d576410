"""What trainings share: devices, optimizers, schedules, batches, metrics."""
