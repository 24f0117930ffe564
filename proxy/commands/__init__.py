"""What each command of the command line does; ``proxy.cli`` reads its arguments."""
