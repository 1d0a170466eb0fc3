//! Driver for U.are.U 4000B and 4500 fingerprint readers on USB.
