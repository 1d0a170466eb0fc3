//! The software FTM: device keys in files, level L0 only, and it says so.
