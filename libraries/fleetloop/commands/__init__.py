"""One module per group of commands. A group is a `typer.Typer` named `app`; cli.py adds it."""
