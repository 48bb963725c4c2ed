"""The pages themselves: NiceGUI elements that show what the core made of the services' answers."""
