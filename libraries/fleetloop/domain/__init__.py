"""The little that several services share and that protos cannot say."""
