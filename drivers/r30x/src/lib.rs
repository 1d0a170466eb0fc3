//! Driver for R30x fingerprint modules (R305, R307, AS608, ZFM-20) on a UART.
