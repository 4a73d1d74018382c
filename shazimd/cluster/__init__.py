"""Other hosts: what a link exchanges between this host's daemon and the cluster's database."""
