"""`python -m bench.show`: one example of a task as text and picture, or the table of all tasks."""
