//! Traits of the hardware side: pipes, devices, driver factories, FTMs, and the suites that every implementation runs.
