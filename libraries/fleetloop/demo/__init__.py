"""`fleetloop demo`: the whole loop on one machine, with a simulated fleet and simulated labellers.

The demo drives vehicles and plays labellers; everything between a vehicle's telemetry and a new model on it is the
product, which nobody tells what to do. What the demo reports was read from the services and from the vehicles.
"""
