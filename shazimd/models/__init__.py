"""Feature-vector models: fetched, converted, registered, provided."""
