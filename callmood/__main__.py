"""`python -m callmood`: the same as `callmood`."""

from callmood.cli import main

if __name__ == "__main__":
    main()
