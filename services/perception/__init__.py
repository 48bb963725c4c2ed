"""The reference net: trained from dataset versions, examined on a frozen test set, exported for vehicles."""
