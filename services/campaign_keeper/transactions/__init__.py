"""What the keeper writes: each function runs in one transaction of `Database.run`.

`campaigns` changes campaigns, `ledger` counts the outcome of firings, `reports` stores what is in force.
"""
