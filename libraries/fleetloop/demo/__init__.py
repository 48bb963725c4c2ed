"""`fleetloop demo`: the whole loop on one machine, with a simulated fleet and simulated labellers.

The demo only drives vehicles and answers label tasks. Everything between a vehicle's telemetry and a new model on it
is the product, running without instructions. All reported figures are read from the services and the vehicles.
"""
