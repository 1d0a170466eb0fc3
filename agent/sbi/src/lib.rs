//! The MOSIP SBI wire: requests, answers, JWS, hash chain, session encryption, ISO 19794 records.
