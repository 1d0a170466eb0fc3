//! What is known of device models: the quirk files, the match of a found device, and the udev rules and hwdb made from them.
