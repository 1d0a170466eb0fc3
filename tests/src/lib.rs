//! Black-box tests of the whole: they link no internals of the daemon.
