"""Define targets, loss and scores of what is predicted of a clip: one file per task.

The interface is `training.task.Task`.
"""
