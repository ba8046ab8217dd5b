"""`python -m slimulator`."""

from slimulator import main

main()
