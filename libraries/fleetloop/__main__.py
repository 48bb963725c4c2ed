"""`python -m fleetloop` does the same as `fleetloop`; a detached run starts itself this way."""

from fleetloop.cli import main

if __name__ == "__main__":
    main()
