"""Training: batches, schedules, the loop, checkpoints, several workers."""
