"""The reference agent of a vehicle: records, perceives, sends, obeys, and changes its model without a gap."""
