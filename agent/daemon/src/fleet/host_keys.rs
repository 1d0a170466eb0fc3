//! Device keys that live in this host's FTM (L0): request, certificate, switch-over, destruction.
//!
//! Blocking. The chain is written before the key slot is switched, and a destruction before it is carried out, so a kill
//! at any instant leaves either the old pair or the new one, and never an order that is forgotten; what was left half-way
//! is finished by the next appraisal ([`reconcile`]).

use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{Certificate, sha256_hex};
use biotrust_driver_api::{ChipDocument, FtmError};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_trust::appraise_l0;

use super::ftm::{Pending, Urgency};
use super::management::{ManageError, Presentation, Rotated};
use super::unit::Session;
use super::{Inner, locked};
use crate::store::{Cause, Destruction, Enrolment};

/// Makes the next key and a PKCS#10 request (DER) for it.
pub(super) fn begin(inner: &Inner, session: &Session) -> Result<Vec<u8>, ManageError> {
    let _one = locked(&inner.enrolling);
    let (key, identity) = (session.id.as_str(), &session.description.identity);
    // an order to destroy must not reach a key that was made after it
    carry_out_destruction(inner, key)?;
    answer(inner.ftm.begin_rotation(key, &identity.serial_no, &identity.device_provider))
}

/// Holds the chain against everything that the device will be held against, and switches to it.
pub(super) fn switch(inner: &Inner, session: &Session, chain: &[Vec<u8>]) -> Result<Rotated, ManageError> {
    let (_judging, _one) = (locked(&session.judging), locked(&inner.enrolling));
    let (key, identity) = (session.id.as_str(), &session.description.identity);
    let refuse = |why: String| ManageError::Certificate(why);
    let appraisal = appraise_l0(identity, chain, &inner.trust.device, inner.clock.now());
    let device = appraisal.into_device().map_err(|failed| refuse(failed.to_string()))?;
    let certificate = device.certificate();
    if answer(inner.ftm.next_public_key(key))?.as_deref() != Some(certificate.spki_der()) {
        return Err(refuse(
            "it does not certify the key of the last request; ask for a request again".into(),
        ));
    }
    let replaced = replaced(inner, &inner.store().enrolments(key)?, certificate.spki_der());
    inner.store().put_pending(key, chain)?;
    answer(inner.ftm.finish_rotation(key))?;
    inner.store().confirm(key, replaced.as_ref())?;
    Ok(Rotated {
        certificate_sha256: certificate.sha256(),
        destroyed_spki_sha256: replaced.map(|replaced| replaced.spki_sha256),
    })
}

/// Destroys the keys and forgets the certificates.
pub(super) fn destroy(inner: &Inner, key: &str) -> Result<Option<String>, ManageError> {
    let _one = locked(&inner.enrolling);
    let current = match answer(inner.ftm.public_key(key)) {
        Ok(current) => Some(current),
        Err(ManageError::Ftm(FtmError::NoKey(_))) => None,
        Err(error) => return Err(error),
    };
    let next = answer(inner.ftm.next_public_key(key))?;
    let at = inner.clock.now();
    let planned =
        |spki: &Vec<u8>| Destruction { spki_sha256: sha256_hex(spki), cause: Cause::Deregistered, at };
    let keys: Vec<Destruction> = current.iter().chain(&next).map(planned).collect();
    inner.store().forget(key, &keys)?;
    carry_out_destruction(inner, key)?;
    Ok(current.as_ref().map(|spki| planned(spki).spki_sha256))
}

/// Carries out an order to destroy that was written down.
fn carry_out_destruction(inner: &Inner, key: &str) -> Result<(), ManageError> {
    if !inner.store().planned_destructions(key)?.is_empty() {
        answer(inner.ftm.destroy(key))?;
        inner.store().destruction_done(key)?;
    }
    Ok(())
}

/// The chain of the key that is current in the FTM, finishing or dropping what a crash left half-way.
///
/// # Errors
/// `Ftm(NoKey)` where there is no key at all.
pub(super) fn reconcile(inner: &Inner, key: &str) -> Result<Option<Vec<Vec<u8>>>, ManageError> {
    let _one = locked(&inner.enrolling);
    carry_out_destruction(inner, key)?;
    let certifies = |enrolment: &Enrolment, key: &[u8]| leaf(enrolment).is_some_and(|l| l.spki_der() == key);
    let enrolments = inner.store().enrolments(key)?;
    if let Some(pending) = enrolments.iter().find(|enrolment| !enrolment.current) {
        // written, but did the key slot follow?
        let next = answer(inner.ftm.next_public_key(key))?;
        if next.is_some_and(|next| certifies(pending, &next)) {
            answer(inner.ftm.finish_rotation(key))?;
            tracing::info!(key, "finished an enrolment that was cut short");
        }
    }
    let current = answer(inner.ftm.public_key(key))?;
    match enrolments.iter().find(|enrolment| certifies(enrolment, &current)) {
        Some(held) => {
            if !held.current {
                inner.store().confirm(key, replaced(inner, &enrolments, &current).as_ref())?;
            }
            Ok(Some(held.chain.clone()))
        }
        None => Ok(None),
    }
}

/// The chain that belongs to the current key; empty where there is none.
pub(super) fn current_chain(inner: &Inner, key: &str) -> Result<Vec<Vec<u8>>, ManageError> {
    let current = inner.store().enrolments(key)?.into_iter().find(|enrolment| enrolment.current);
    Ok(current.map(|enrolment| enrolment.chain).unwrap_or_default())
}

/// The certified key that the key `spki` takes the place of.
fn replaced(inner: &Inner, enrolments: &[Enrolment], spki: &[u8]) -> Option<Destruction> {
    let old = enrolments.iter().find(|enrolment| enrolment.current).and_then(leaf)?;
    (old.spki_der() != spki).then(|| Destruction {
        spki_sha256: sha256_hex(old.spki_der()),
        cause: Cause::Rotated,
        at: inner.clock.now(),
    })
}

fn leaf(enrolment: &Enrolment) -> Option<Certificate> {
    enrolment.chain.first().and_then(|der| Certificate::parse(der).ok())
}

/// Who signs a document at L0.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    /// The key of this certificate, which is first in its chain (DER).
    Certified(&'a [Vec<u8>]),
    /// The key of a rotation that has begun, without a certificate.
    Next,
    /// The chip key of the host's trust module.
    Module,
}

/// A document of type `typ` over `payload` (JSON), a compact JWS.
pub(super) fn sign_document(
    inner: &Inner,
    session: &Session,
    typ: &str,
    payload: &str,
    by: By<'_>,
) -> Result<String, ManageError> {
    let (ftm, key) = (&inner.ftm, session.id.as_str());
    let prepare = |signer: Signer<'_>| {
        signed::prepare(typ, &signer, payload).map_err(|error| ManageError::Internal(error.to_string()))
    };
    let (unsigned, signature) = match by {
        By::Certified(chain) => {
            let unsigned = prepare(Signer::Chain(chain))?;
            let leaf = chain.first().and_then(|der| Certificate::parse(der).ok());
            let leaf = leaf.ok_or(ManageError::NotRegistered("its key has no certificate"))?;
            let message = unsigned.signing_input().to_vec();
            let (_, signature) = answer(ftm.sign(Urgency::Background, key, leaf.spki_der(), message))?;
            (unsigned, signature)
        }
        By::Next => {
            let none = ManageError::NotRegistered("no key was made for it; begin a rotation first");
            let spki = answer(ftm.next_public_key(key))?.ok_or(none)?;
            let unsigned = prepare(Signer::Key(&spki))?;
            let signature = answer(ftm.sign_next(key, unsigned.signing_input().to_vec()))?;
            (unsigned, signature)
        }
        By::Module => {
            let unsigned = prepare(Signer::Chain(&answer(ftm.identity_chain())?))?;
            let signature = answer(ftm.sign_identity(unsigned.signing_input().to_vec()))?;
            (unsigned, signature)
        }
    };
    Ok(unsigned.attach(&signature))
}

/// A message to the management server: by the current key where it has a certificate, else by the next one.
pub(super) fn sign_message(inner: &Inner, session: &Session, payload: &str) -> Result<String, ManageError> {
    let keys = session.keys();
    let by = match keys.as_ref().map(|keys| keys.chain()) {
        Some(chain) if !chain.is_empty() => By::Certified(chain),
        _ => By::Next,
    };
    sign_document(inner, session, ChipDocument::Management.typ(), payload, by)
}

/// A digital ID of this moment.
pub(super) fn digital_id(inner: &Inner, session: &Session) -> Result<Presentation, ManageError> {
    let digital_id = DigitalId::at(session.description.identity.clone(), inner.clock.now());
    let keys = session.keys();
    let Some(certificate) = keys.as_ref().and_then(|keys| keys.certificate.as_ref()) else {
        return Ok(Presentation::Plain(digital_id.to_json()));
    };
    let (key, spki) = (session.id.as_str(), certificate.spki_der());
    let unsigned = digital_id.prepare(&[certificate.der()]);
    let (unsigned, signature) = answer(inner.ftm.sign(Urgency::Background, key, spki, unsigned))?;
    Ok(Presentation::Signed(unsigned.attach(&signature)))
}

/// Waits for the FTM.
pub(super) fn answer<T>(pending: Pending<T>) -> Result<T, ManageError> {
    Ok(pending.blocking_recv().map_err(|_| ManageError::NoAnswer)??)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use biotrust_certs::TestPki;
    use biotrust_model::time::{Clock as _, SystemClock};

    use super::*;
    use crate::fleet::Fleet;
    use crate::fleet::workshop::{certified, started};

    const KEY: &str = "BT0123456789";

    fn pki() -> TestPki {
        TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap()
    }

    fn whole(fleet: &Fleet, chain: &[Vec<u8>]) {
        fleet.0.store().put_pending(KEY, chain).unwrap();
        fleet.0.ftm.finish_rotation(KEY).blocking_recv().unwrap().unwrap();
        fleet.0.store().confirm(KEY, None).unwrap();
    }

    fn name_of(chain: &[Vec<u8>]) -> String {
        sha256_hex(Certificate::parse(&chain[0]).unwrap().spki_der())
    }

    fn destroyed(fleet: &Fleet) -> Vec<(String, Cause)> {
        let keys = fleet.0.store().destroyed_keys(KEY).unwrap();
        keys.into_iter().map(|key| (key.spki_sha256, key.cause)).collect()
    }

    /// The chain that a daemon starts with, which must be the one of the key that it starts with.
    fn after_a_restart(state: &Path, pki: &TestPki) -> Option<Vec<Vec<u8>>> {
        let fleet = started(state, pki);
        let chain = reconcile(&fleet.0, KEY).unwrap();
        if let Some(chain) = &chain {
            let key = fleet.0.ftm.public_key(KEY).blocking_recv().unwrap().unwrap();
            assert_eq!(Certificate::parse(&chain[0]).unwrap().spki_der(), key);
            let held = fleet.0.store().enrolments(KEY).unwrap();
            assert!(held.iter().any(|e| e.current && e.chain == *chain), "and it is settled");
        }
        chain
    }

    #[test]
    fn a_crash_between_any_two_steps_leaves_a_key_with_its_certificate_and_a_true_record() {
        let pki = pki();
        for steps in 0..=3 {
            let state = tempfile::tempdir().unwrap();
            let fleet = started(state.path(), &pki);
            let old = certified(&fleet, KEY, &pki);
            whole(&fleet, &old);
            let new = certified(&fleet, KEY, &pki);
            assert_ne!(old, new);
            let leaf = Certificate::parse(&new[0]).unwrap();
            let replaced =
                replaced(&fleet.0, &fleet.0.store().enrolments(KEY).unwrap(), leaf.spki_der()).unwrap();
            if steps >= 1 {
                fleet.0.store().put_pending(KEY, &new).unwrap();
            }
            if steps >= 2 {
                fleet.0.ftm.finish_rotation(KEY).blocking_recv().unwrap().unwrap();
            }
            if steps >= 3 {
                fleet.0.store().confirm(KEY, Some(&replaced)).unwrap();
            }
            drop(fleet);
            let expected = if steps == 0 { &old } else { &new };
            for _ in 0..2 {
                assert_eq!(
                    after_a_restart(state.path(), &pki).as_ref(),
                    Some(expected),
                    "crash after step {steps}"
                );
            }
            let record = if steps == 0 { vec![] } else { vec![(name_of(&old), Cause::Rotated)] };
            assert_eq!(destroyed(&started(state.path(), &pki)), record, "crash after step {steps}");
        }
    }

    #[test]
    fn an_order_to_destroy_survives_a_crash_at_every_step() {
        let pki = pki();
        for steps in 1..=3 {
            let state = tempfile::tempdir().unwrap();
            let fleet = started(state.path(), &pki);
            let chain = certified(&fleet, KEY, &pki);
            whole(&fleet, &chain);
            let order = Destruction {
                spki_sha256: name_of(&chain),
                cause: Cause::Deregistered,
                at: SystemClock.now(),
            };
            fleet.0.store().forget(KEY, std::slice::from_ref(&order)).unwrap();
            if steps >= 2 {
                fleet.0.ftm.destroy(KEY).blocking_recv().unwrap().unwrap();
            }
            if steps >= 3 {
                fleet.0.store().destruction_done(KEY).unwrap();
            }
            drop(fleet);
            let fleet = started(state.path(), &pki);
            assert_eq!(destroyed(&fleet).is_empty(), steps < 3, "not recorded before it is done");
            let gone = reconcile(&fleet.0, KEY);
            assert!(matches!(gone, Err(ManageError::Ftm(FtmError::NoKey(_)))), "step {steps}: {gone:?}");
            assert_eq!(destroyed(&fleet), [(name_of(&chain), Cause::Deregistered)], "step {steps}");
            // and the order does not reach the key that comes after it
            let next = certified(&fleet, KEY, &pki);
            whole(&fleet, &next);
            assert_eq!(reconcile(&fleet.0, KEY).unwrap(), Some(next));
        }
    }

    #[test]
    fn destroying_takes_the_next_key_along_and_is_repeatable() {
        let (pki, state) = (pki(), tempfile::tempdir().unwrap());
        let fleet = started(state.path(), &pki);
        assert_eq!(destroy(&fleet.0, KEY).unwrap(), None, "nothing there, nothing destroyed");
        let chain = certified(&fleet, KEY, &pki);
        whole(&fleet, &chain);
        let next = certified(&fleet, KEY, &pki);
        assert_eq!(destroy(&fleet.0, KEY).unwrap(), Some(name_of(&chain)));
        assert_eq!(answer(fleet.0.ftm.next_public_key(KEY)).unwrap(), None);
        let names: Vec<_> = destroyed(&fleet).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [name_of(&chain), name_of(&next)]);
        assert_eq!(destroy(&fleet.0, KEY).unwrap(), None);
    }

    #[test]
    fn a_certificate_of_a_key_that_is_not_there_is_none() {
        let (pki, state) = (pki(), tempfile::tempdir().unwrap());
        let fleet = started(state.path(), &pki);
        assert!(matches!(reconcile(&fleet.0, KEY), Err(ManageError::Ftm(FtmError::NoKey(_)))));
        let lost = certified(&fleet, KEY, &pki);
        let chain = certified(&fleet, KEY, &pki);
        whole(&fleet, &chain);
        fleet.0.store().put_pending(KEY, &lost).unwrap();
        drop(fleet);
        assert_eq!(
            after_a_restart(state.path(), &pki),
            Some(chain),
            "the pending one belongs to a key that was replaced"
        );
    }
}
