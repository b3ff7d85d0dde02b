"""What is predicted of a clip: one file per task, with its targets, loss and scores.

The interface is `training.task.Task`.
"""
