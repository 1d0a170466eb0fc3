//! What MOSIP's back ends would say to a capture: IDA, registration processor, key manager trust.
