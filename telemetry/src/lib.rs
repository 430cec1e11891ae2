//! Logs and traces of the daemons.
