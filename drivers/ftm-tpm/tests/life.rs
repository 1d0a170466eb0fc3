//! The life of keys in a TPM: conformance, persistence, power cuts, rotation and destruction.

mod common;

use biotrust_driver_api::conformance::Verifier;
use biotrust_driver_api::{Ftm, FtmError, Sealer, conformance};
use biotrust_model::evidence::{FtmKind, KeySlot};
use common::*;

#[test]
fn it_lives_the_life_of_an_ftm() {
    let bench = Bench::new();
    let mut ftm = bench.open();
    conformance::ftm_life_cycle(&mut ftm, &AwsLc).unwrap();
    assert_eq!(ftm.kind(), FtmKind::Tpm);
    assert!(files(&bench.keys()).is_empty(), "no key is left");
}
