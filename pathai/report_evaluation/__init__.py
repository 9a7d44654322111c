"""Judge drafts and their verifier on cases whose truth is known: `pathai report evaluate`."""
