"""What every task needs around its work: claims, heartbeats, local copies of data, publishing."""
