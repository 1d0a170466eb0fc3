//! Somebody sits on the bus between us and the TPM: what he reads is encrypted, what he changes is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests fail like tests

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use biotrust_driver_api::Sealer;
use biotrust_ftm_tpm::{Options, TpmFtm};
use common::*;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;

/// Stands between a client and a TPM on two ports in a row, as the TPM's own.
struct Interposer {
    port: u16,
    /// Everything that crossed, both ways.
    seen: Arc<Mutex<Vec<u8>>>,
    /// Whether to turn a bit in the next long answer.
    turn: Arc<AtomicBool>,
}

impl Interposer {
    fn before(tpm: u16) -> Self {
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let turn: Arc<AtomicBool> = Arc::default();
        let (port, commands, control) = (33_000..60_000)
            .step_by(2)
            .skip(usize::from(tpm) % 4000)
            .find_map(|port| {
                let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
                Some((port, bind(port)?, bind(port + 1)?))
            })
            .unwrap();
        for (listener, target, turn) in
            [(commands, tpm, Arc::clone(&turn)), (control, tpm + 1, Arc::default())]
        {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    let client = client.unwrap();
                    let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
                    let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    forward(client, to_server, Arc::clone(&seen), Arc::default());
                    forward(server, to_client, Arc::clone(&seen), Arc::clone(&turn));
                }
            });
        }
        Self { port, seen, turn }
    }

    fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    fn saw(&self, what: &[u8]) -> bool {
        self.seen.lock().unwrap().windows(what.len()).any(|window| window == what)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, seen: Arc<Mutex<Vec<u8>>>, turn: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if length > 150 && turn.swap(false, Ordering::SeqCst) {
                buffer[60] ^= 1;
            }
            seen.lock().unwrap().extend_from_slice(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

fn port(bench: &Bench) -> u16 {
    bench.tpm.tcti().rsplit_once('=').unwrap().1.parse().unwrap()
}

const CANARY: &[u8] = b"a canary of thirty-two bytes ...";

#[test]
fn a_secret_that_crosses_the_bus_cannot_be_read_on_it() {
    let bench = Bench::new();
    let bus = Interposer::before(port(&bench));
    let options = Options { ek_anchors: bench.options().ek_anchors, ..Options::new(bus.tcti()) };
    let mut ftm = TpmFtm::open(options, &bench.keys()).unwrap();
    let sealed = ftm.seal(CANARY).unwrap();
    assert_eq!(ftm.unseal(&sealed).unwrap().expose(), CANARY);
    assert!(bus.seen.lock().unwrap().len() > 1000 && !bus.saw(CANARY));
    drop(ftm);

    // Negative control: the same by a program without such a session.
    let mut context = tss_esapi::Context::new(bus.tcti().parse().unwrap()).unwrap();
    context.execute_with_session(Some(AuthSession::Password), |context| {
        let attributes = tss_esapi::attributes::ObjectAttributesBuilder::new().with_user_with_auth(true);
        let public = tss_esapi::structures::PublicBuilder::new()
            .with_public_algorithm(tss_esapi::interface_types::algorithm::PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(tss_esapi::interface_types::algorithm::HashingAlgorithm::Sha256)
            .with_object_attributes(attributes.build().unwrap())
            .with_keyed_hash_parameters(tss_esapi::structures::PublicKeyedHashParameters::new(
                tss_esapi::structures::KeyedHashScheme::Null,
            ))
            .with_keyed_hash_unique_identifier(tss_esapi::structures::Digest::default())
            .build()
            .unwrap();
        let data = CANARY.try_into().unwrap();
        context.create_primary(Hierarchy::Owner, public, None, Some(data), None, None).unwrap();
    });
    assert!(bus.saw(CANARY));
}

#[test]
fn passwords_do_not_cross_the_bus() {
    let bench = Bench::new();
    let mut context = raw(&bench.tpm);
    context.execute_with_session(Some(AuthSession::Password), |context| {
        for hierarchy in [tss_esapi::handles::AuthHandle::Owner, tss_esapi::handles::AuthHandle::Endorsement]
        {
            context.hierarchy_change_auth(hierarchy, CANARY.try_into().unwrap()).unwrap();
        }
    });
    drop(context);
    let bus = Interposer::before(port(&bench));
    let password = || Some(biotrust_model::Secret::new(CANARY.to_vec()));
    let options =
        Options { owner_auth: password(), endorsement_auth: password(), ..Options::new(bus.tcti()) };
    let mut ftm = TpmFtm::open(options, &bench.keys()).unwrap();
    provision(&mut ftm);
    ftm.clock().unwrap();
    assert!(bus.seen.lock().unwrap().len() > 1000 && !bus.saw(CANARY));
}

#[test]
fn an_answer_that_was_changed_on_the_bus_is_refused() {
    let bench = Bench::new();
    let bus = Interposer::before(port(&bench));
    let mut ftm = TpmFtm::open(Options::new(bus.tcti()), &bench.keys()).unwrap();
    let secret = vec![5; 100];
    let sealed = ftm.seal(&secret).unwrap();
    assert_eq!(ftm.unseal(&sealed).unwrap().expose(), secret);
    bus.turn.store(true, Ordering::SeqCst);
    let changed = ftm.unseal(&sealed);
    assert!(!bus.turn.load(Ordering::SeqCst), "it was changed");
    let (is, next) = state(changed);
    assert!(is.contains("changed on its way") && next.contains("do not use"), "{is}: {next}");
    assert_eq!(ftm.unseal(&sealed).unwrap().expose(), secret, "and the next one is good");
}
