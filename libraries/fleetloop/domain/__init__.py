"""What several services share and protobuf messages cannot express."""
