//! Trust stores per domain, path building, certificate profiles, and a declarative test PKI.
