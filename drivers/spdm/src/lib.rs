//! SPDM 1.2 (DMTF DSP0274) for trust modules of biometric devices, without I/O.
