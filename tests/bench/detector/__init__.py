"""The detector against its peers and against a consumer that only fetches and parses."""
