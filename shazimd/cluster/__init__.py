"""Other hosts: the exchange between this host's daemon and the database of the cluster, in a process of its own."""
